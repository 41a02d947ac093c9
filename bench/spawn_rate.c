/* How often a second this machine can spawn a command, two at a time, with nothing else to do:
 * spawn_rate COUNT COMMAND [ARGUMENT...] prints the rate. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define AT_A_TIME 2

static char *no_environment[] = {NULL};

static void start(char **command)
{
    pid_t child;
    int error = posix_spawn(&child, command[0], NULL, NULL, command, no_environment);
    if (error != 0) {
        fprintf(stderr, "spawn_rate: %s: %s\n", command[0], strerror(error));
        exit(1);
    }
}

static void reap(void)
{
    int status;
    if (waitpid(-1, &status, 0) < 0 || status != 0) {
        fprintf(stderr, "spawn_rate: the command failed\n");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct timespec begin, end;
    long count, running = 0;

    if (argc < 3 || (count = atol(argv[1])) < AT_A_TIME) {
        fprintf(stderr, "usage: spawn_rate COUNT COMMAND [ARGUMENT...]\n");
        return 2;
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long started = 0; started < count; started++) {
        if (running == AT_A_TIME) {
            reap();
            running--;
        }
        start(argv + 2);
        running++;
    }
    while (running-- > 0)
        reap();
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.1f\n", count / ((end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9));
    return 0;
}

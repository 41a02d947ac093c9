/* The cheapest porch there can be: what remains is the cost of everything around it.
 * Called by the name porch_stuck, it never ends, so that intents wait. */
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc > 0 && strstr(argv[0], "porch_stuck") != NULL)
        for (;;)
            pause();
    return 0;
}

// Questions to the daemon, and in words why one has no answer.

// Against an address with user and password in it a path would take them along, and be refused.
export const at = (path) => location.origin + path;

const AWAY = "No word from the daemon: it has ended, or the way to it is cut. What the list shows was heard last.";

/** What was answered, or null and why; `status` is 0 where nobody answered. */
export async function ask(path) {
  try {
    const answer = await fetch(at(path));
    if (answer.ok) return { told: await answer.json(), status: answer.status, why: "" };
    return { told: null, status: answer.status, why: `${answer.status}: ${await answer.text()}` };
  } catch {
    return { told: null, status: 0, why: AWAY };
  }
}

/* The tests of programs that are linked with the library. */
#include "harness.h"

const Test *codes_tests(void);
extern const Test misuse_tests[], session_tests[], thread_tests[], process_tests[], host_tests[], agent_tests[], guest_tests[], secret_tests[], openid_tests[], nuts_tests[], sign_tests[];

int main(int argc, char **argv)
{
#ifdef _WIN32
    /* windows.c says where the others are. */
    const Test *lists[] = {misuse_tests, codes_tests(), session_tests, thread_tests, sign_tests, NULL};
#else
    /* The slowest tests come first, for tests that run in parallel. */
    const Test *lists[] = {guest_tests, misuse_tests, codes_tests(), session_tests, thread_tests, process_tests, host_tests, agent_tests,
        secret_tests, openid_tests, nuts_tests, sign_tests, NULL};
#endif
    return run_tests(lists, argc, argv);
}

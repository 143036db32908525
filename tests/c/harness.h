/* A small harness: each test runs in its own process, because the library has one engine in each process. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stddef.h>
#include <sys/types.h>

typedef struct {
    const char *name;
    void (*run)(const void *row);
    const void *row; /* for tests that run once for each row of a table */
} Test;

/* Runs the tests whose names contain one of the arguments, TEST_JOBS at a time (default 1). Returns main's result. The
   last line of its output is "N passed, N failed". */
int run_tests(const Test *const *lists, int argc, char **argv);

/* Ends the test if the condition is false. */
#define CHECK(condition) check((condition) != 0, #condition, __FILE__, __LINE__)
/* Ends the test unless both are the same 32 bits. */
#define CHECK_EQ(actual, expected) check_eq((unsigned)(actual), (unsigned)(expected), #actual, __FILE__, __LINE__)
/* Ends the test unless the texts are equal. */
#define CHECK_TEXT(actual, expected) check_text(actual, expected, #actual, __FILE__, __LINE__)

/* Ends the test with a report. */
#ifdef __GNUC__
__attribute__((noreturn, format(printf, 3, 4)))
#endif
void fail(const char *file, int line, const char *format, ...);
void check(int holds, const char *what, const char *file, int line);
void check_eq(unsigned actual, unsigned expected, const char *what, const char *file, int line);
void check_text(const char *actual, const char *expected, const char *what, const char *file, int line);

/* Where failures are reported, for tests that change standard output. */
extern int report_to;

/* Returns `smoke`, multiplied by CHECK_SCALE percent if that is set. */
int scaled(int smoke);

/* Starts a Spine simulator with these arguments, which end with NULL, and makes the library use it. It ends with the
   test. */
void start_spine(const char *const *arguments);
/* Ends the simulator early, so that later connections are refused. */
void end_spine(void);
/* Starts an OpenID provider's simulator, with a browser in which the user is logged in at once, likewise. */
void start_provider(const char *const *arguments);

/* Starts a Nuts node; in a real browser, the user presses "accept" or "reject" on its page. */
void start_node(const char *decision);
/* How many requests to `path` the last simulator has answered. */
int spine_requests(const char *path);

/* Makes the library use a card of test-cards: NAME.toml, or NAME if it ends in .p12. */
void use_card(const char *name);

/* Makes the library use the card's token through a module that follows `script`; see testkit/scripted-pkcs11. */
void use_scripted_module(const char *card, const char *script);

/* Descriptors, threads and children of this process, simulators among them. Resident memory in KiB: all, and that which belongs to no file. */
int count_descriptors(void);
int count_threads(void);
int threads_become(int count);
int count_children(void);
long resident_kib(void);
long own_kib(void);

/* Makes the computer appear to have been suspended for this time. */
void sleep_the_computer(int seconds);

/* What a library must not change in its process: signals, masks, folder, locale, limits, environment, and resources. */
void remember_host(void);
void check_host_is_the_same(void);

/* Waits for a child, and returns its status. */
int status_of(pid_t child);

/* For the harness of each system, which is harness.c or windows.c; the rest is in checks.c. */

/* Returns a variable that the script sets which runs the tests. */
const char *needed(const char *variable);
/* Whether one of the arguments is part of the name, or there are none. */
int selected(const char *name, int argc, char **argv);
/* The file with the output of the last simulator. */
const char *simulator_log(void);
/* Returns the value after KEY= in the simulator's first lines, or NULL before it is printed. */
char *greeting(const char *key, char *line, size_t size);

/* A path at which there is nothing. */
#ifdef _WIN32
#define NOWHERE "C:\\nowhere\\"
int setenv(const char *name, const char *value, int replace);
int unsetenv(const char *name);
int rand_r(unsigned *seed);
#else
#define NOWHERE "/nowhere/"
#endif

/* Ends a child. Memory of its parent's other threads and libraries is lost in it, which checkers should ignore. */
void leave(void);

long long now_ns(void);
void sleep_ms(int ms);

#endif

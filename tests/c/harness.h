/* A small harness: each test runs in a process of its own, as the library has one engine a process. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stddef.h>

typedef struct {
    const char *name;
    void (*run)(const void *row);
    const void *row; /* for tests that run once for each row of a table */
} Test;

/* Runs the tests whose names have one of the arguments in them, TEST_JOBS at a time, one where it is not
   set; returns main's result. The last line of its output is "N passed, N failed". */
int run_tests(const Test *const *lists, int argc, char **argv);

/* Ends the test when it does not hold. */
#define CHECK(condition) check((condition) != 0, #condition, __FILE__, __LINE__)
/* Two codes or numbers are the same 32 bits. */
#define CHECK_EQ(actual, expected) check_eq((unsigned)(actual), (unsigned)(expected), #actual, __FILE__, __LINE__)
/* A text is the expected one. */
#define CHECK_TEXT(actual, expected) check_text(actual, expected, #actual, __FILE__, __LINE__)

void check(int holds, const char *what, const char *file, int line);
void check_eq(unsigned actual, unsigned expected, const char *what, const char *file, int line);
void check_text(const char *actual, const char *expected, const char *what, const char *file, int line);

/* Where it is said what does not hold, for tests that do something to standard output. */
extern int report_to;

/* `smoke` in an ordinary run; CHECK_SCALE in the environment multiplies it, as percent. */
int scaled(int smoke);

/* Starts a Spine simulator with these arguments, up to NULL, and has the library use it. It ends
   with the test. */
void start_spine(const char *const *arguments);
/* Ends it before that: what comes to it from now on is refused. */
void end_spine(void);
/* How many requests to `path` the simulator that was started last has answered. */
int spine_requests(const char *path);

/* Has the library use a card of test-cards: NAME.toml, or NAME with .p12. */
void use_card(const char *name);

/* Has the library use the card's token through a module that does what `script` says; see
   testkit/scripted-pkcs11. */
void use_scripted_module(const char *card, const char *script);

/* Descriptors, threads and children of this process. Resident memory in KiB: all, and that of no file. */
int count_descriptors(void);
int count_threads(void);
int threads_become(int count);
int count_children(void);
long resident_kib(void);
long own_kib(void);

/* Has the computer have slept for so long, as a program sees it. */
void sleep_the_computer(int seconds);

/* What a guest must not change of this process: signals, masks, folder, locale, limits, environment, and
   what it holds. */
void remember_host(void);
void check_host_is_the_same(void);

/* Ends a child. What its parent's other threads and libraries had is lost in it, which no checker need see. */
void leave(void);

long long now_ns(void);
void sleep_ms(int ms);

#endif

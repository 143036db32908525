/* Programs that share the agent's login. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "prompts.h"

static char folder[128], asked[160];

/* How many times the agent has asked for the PIN. */
static int prompts(void)
{
    struct stat file;
    return stat(asked, &file) == 0 ? (int)file.st_size : 0;
}

static pid_t start_agent_with(const char *pin)
{
    char socket[160], pinentry[160];
    const char *program = getenv("AGENT");
    pid_t agent, test = getpid();
    FILE *script;
    int descriptor;
    CHECK(program);
    snprintf(folder, sizeof folder, "%s/agent-%d", getenv("HOME"), (int)test);
    CHECK(mkdir(folder, 0700) == 0);
    snprintf(asked, sizeof asked, "%s/asked", folder);
    snprintf(socket, sizeof socket, "%s/agent.sock", folder);
    snprintf(pinentry, sizeof pinentry, "%s/pinentry", folder);
    descriptor = open(pinentry, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    script = fdopen(descriptor, "w");
    CHECK(script);
    fprintf(script,
            "#!/bin/sh\necho OK\nwhile read -r line; do\ncase $line in GETPIN) printf . >>%s; echo 'D %s' ;; esac\n"
            "echo OK\ndone\n",
            asked, pin);
    CHECK(fclose(script) == 0);
    setenv("TICKETAPI_AGENT_SOCKET", socket, 1);
    setenv("TICKETAPI_AGENT", "require", 1);
    agent = fork();
    if (agent == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        setenv("TICKETAPI_PINENTRY", pinentry, 1);
        if (getppid() == test)
            execl(program, program, (char *)NULL);
        _exit(127);
    }
    while (access(socket, F_OK) != 0) {
        CHECK(waitpid(agent, NULL, WNOHANG) == 0);
        sleep_ms(2);
    }
    return agent;
}

static pid_t start_agent(void)
{
    return start_agent_with("1234");
}

static void end_agent(pid_t agent)
{
    int status;
    CHECK(kill(agent, SIGTERM) == 0);
    CHECK(waitpid(agent, &status, 0) == agent && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void at_a_desk_with_an_agent(User *user)
{
    static const char *const one_role[] = {"--roles", "1", NULL};
    static const User nobody = {.pin = NULL};
    *user = nobody;
    start_spine(one_role);
    use_card("good.p12");
    answer_with(user);
}

/* Runs `program` in another process, with the library as freshly loaded. */
static void in_another_program(void (*program)(void))
{
    int status;
    pid_t child;
    fflush(stdout);
    child = fork();
    if (child == 0) {
        program();
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void log_in_and_leave(void)
{
    char ticket[1024];
    TCK_API_INSTANCE instance = TcktApi_Initialize();
    log_in(instance, ticket);
    TcktApi_Finalize(instance);
}

static void end_the_session(void)
{
    TCK_API_INSTANCE instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
}

static char tickets[2][1024];

static void has_the_same_ticket(void)
{
    TCK_API_INSTANCE instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, tickets[1], sizeof tickets[1], NULL), TCK_API_SUCCESS);
    CHECK_TEXT(tickets[1], tickets[0]);
}

static void another_program_has_logged_in(const void *row)
{
    User user;
    char text[1024], small[4];
    unsigned count = 0, used = 0;
    pid_t agent;
    TCK_API_INSTANCE instance;
    (void)row;
    at_a_desk_with_an_agent(&user);
    agent = start_agent();
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_user_uid(instance, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    in_another_program(log_in_and_leave);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, tickets[0], sizeof tickets[0], &used), TCK_API_SUCCESS);
    CHECK(used > 20 && strlen(tickets[0]) == used);
    CHECK_EQ(TcktApi_getTicket(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(text, tickets[0]);
    CHECK_EQ(ticketapi_user_uid(instance, text, sizeof text, &used), TCK_API_SUCCESS);
    CHECK_EQ(used, 12);
    CHECK_EQ(ticketapi_role_count(instance, &count), TCK_API_SUCCESS);
    CHECK_EQ(count, 1);
    CHECK_EQ(ticketapi_role(instance, 0, TICKETAPI_ROLE_ID, text, sizeof text, NULL), TCK_API_SUCCESS);
    /* A child of fork() inherits the parent's open connections and must not use them. */
    in_another_program(has_the_same_ticket);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK_EQ(prompts(), 1);
    /* A buffer that is too small does not cause another login. */
    CHECK_EQ(TcktApi_getNewTicket(instance, small, sizeof small, NULL), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getNewTicket(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK(strcmp(text, tickets[0]) != 0);
    CHECK_EQ(prompts(), 2);
    in_another_program(end_the_session);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(user.pins, 0);
    TcktApi_Finalize(instance);
    end_agent(agent);
}

static void the_agent_ends(const void *row)
{
    User user;
    char text[1024];
    pid_t agent;
    TCK_API_INSTANCE instance;
    (void)row;
    at_a_desk_with_an_agent(&user);
    agent = start_agent();
    instance = TcktApi_Initialize();
    log_in(instance, text);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK(kill(agent, SIGKILL) == 0 && waitpid(agent, NULL, 0) == agent);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_getErrorDescription(instance, TCK_API_ERR_TICKET_NOT_AVAILABLE, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK(strstr(text, "no ticketapi agent is running") && !strstr(text, "nobody is logged in"));
    CHECK_EQ(ticketapi_user_uid(instance, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_getErrorDescription(instance, TCK_API_ERR_TICKET_NOT_AVAILABLE, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK(strstr(text, "no ticketapi agent is running") && !strstr(text, "nobody is logged in"));
    CHECK_EQ(TcktApi_getTicket(instance, text, sizeof text, NULL), TCK_API_ERR_AUTHMETHOD_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_getErrorDescription(instance, TCK_API_ERR_AUTHMETHOD_NOT_AVAILABLE, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK(strstr(text, "no ticketapi agent is running"));
    TcktApi_Finalize(instance);
    /* The same program, if it may log in by itself. */
    setenv("TICKETAPI_AGENT", "auto", 1);
    user.pin = "1234";
    instance = TcktApi_Initialize();
    log_in(instance, text);
    CHECK_EQ(user.pins, 1);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
}

static void the_agents_use_leaks_nothing(const void *row)
{
    User user;
    char text[1024];
    int i, descriptors, threads, children;
    pid_t agent;
    TCK_API_INSTANCE instance;
    (void)row;
    at_a_desk_with_an_agent(&user);
    agent = start_agent();
    remember_host();
    instance = TcktApi_Initialize();
    log_in(instance, text);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
    descriptors = count_descriptors(), threads = count_threads(), children = count_children();
    for (i = 0; i < scaled(2000); i++) {
        CHECK_EQ(TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
        if (i % 100 == 0)
            CHECK_EQ(TcktApi_getTicket(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
    }
    CHECK_EQ(count_descriptors(), descriptors);
    CHECK_EQ(count_threads(), threads);
    CHECK_EQ(count_children(), children);
    TcktApi_Finalize(instance);
    check_host_is_the_same();
    end_agent(agent);
}

/* A card in a virtual reader, and PC/SC as another program than the agent sees it. */
static struct {
    FILE *say, *hear;
    long context;
    long (*wait)(long, unsigned long, void *, unsigned long);
    long (*release)(long);
} reader;

/* SCARD_READERSTATE. */
typedef struct {
    const char *name;
    void *user_data;
    unsigned long now, then, atr_size;
    unsigned char atr[33];
} ReaderState;

enum { STATE_UNAWARE = 0, STATE_EMPTY = 0x10, STATE_PRESENT = 0x20 };

static void tell_card(const char *what)
{
    char answer[32] = "";
    CHECK(fprintf(reader.say, "%s\n", what) > 0 && fflush(reader.say) == 0);
    CHECK(fgets(answer, sizeof answer, reader.hear) && strncmp(answer, what, strlen(what)) == 0);
}

static void wait_until_card_is(unsigned long state)
{
    ReaderState seen = {.name = "Virtual PCD 00 00"};
    do {
        CHECK_EQ(reader.wait(reader.context, 30000, &seen, 1), 0);
        seen.now = seen.then & ~2UL;
    } while (!(seen.then & state));
}

static void at_a_reader(void)
{
    static const struct {
        const char *key, *variable;
    } settings[] = {{"helper=", "TICKETAPI_HELPER"}, {"service=", "PCSCLITE_CSOCK_NAME"}, {"pin=", "TEST_PIN"}};
    const char *program = getenv("VIRTUAL_CARD"), *state = getenv("TEST_STATE"), *helper = getenv("HELPER");
    char line[512];
    int to[2], from[2];
    size_t i;
    void *library = dlopen("libpcsclite.so.1", RTLD_NOW);
    long (*establish)(unsigned long, const void *, const void *, long *);
    CHECK(program && state && helper && library);
    CHECK(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
    if (fork() == 0) {
        if (dup2(to[0], 0) == 0 && dup2(from[1], 1) == 1)
            execl(program, program, "--state-dir", state, "--helper", helper, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    reader.say = fdopen(to[1], "w");
    reader.hear = fdopen(from[0], "r");
    for (i = 0; i < sizeof settings / sizeof *settings; i++) {
        size_t length = strlen(settings[i].key);
        CHECK(fgets(line, sizeof line, reader.hear) && strncmp(line, settings[i].key, length) == 0);
        line[strcspn(line, "\n")] = 0;
        setenv(settings[i].variable, line + length, 1);
    }
    *(void **)&establish = dlsym(library, "SCardEstablishContext");
    *(void **)&reader.wait = dlsym(library, "SCardGetStatusChange");
    *(void **)&reader.release = dlsym(library, "SCardReleaseContext");
    CHECK(establish && reader.wait && reader.release);
    CHECK_EQ(establish(0, NULL, NULL, &reader.context), 0);
}

/* Gets the ticket, reports that, and reports when it has lost it. */
static void loses_the_ticket(int say)
{
    char text[1024];
    long long then;
    TCK_API_INSTANCE instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK(write(say, "", 1) == 1);
    while (TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL) == TCK_API_SUCCESS) {
    }
    then = now_ns();
    CHECK_EQ(TcktApi_getLastError(instance), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK(write(say, &then, sizeof then) == sizeof then);
    TcktApi_Finalize(instance);
}

static void the_card_is_removed(const void *row)
{
    enum { PROGRAMS = 3 };
    static const char *const one_role[] = {"--roles", "1", NULL};
    User user = {.pin = NULL};
    char text[1024], ready;
    pid_t agent, programs[PROGRAMS];
    int pipes[PROGRAMS][2], i, status;
    long long told, then;
    TCK_API_INSTANCE instance;
    (void)row;
    start_spine(one_role);
    answer_with(&user);
    at_a_reader();
    CHECK(getenv("OPENSC") != NULL);
    setenv("TICKETAPI_PKCS11_MODULE", getenv("OPENSC"), 1);
    agent = start_agent_with(getenv("TEST_PIN"));
    tell_card("insert");
    wait_until_card_is(STATE_PRESENT);
    instance = TcktApi_Initialize();
    log_in(instance, text);
    for (i = 0; i < PROGRAMS; i++) {
        CHECK(pipe(pipes[i]) == 0);
        fflush(stdout);
        programs[i] = fork();
        if (programs[i] == 0) {
            loses_the_ticket(pipes[i][1]);
            leave();
        }
        CHECK(read(pipes[i][0], &ready, 1) == 1);
    }
    tell_card("remove");
    wait_until_card_is(STATE_EMPTY);
    told = now_ns();
    for (i = 0; i < PROGRAMS; i++) {
        CHECK(read(pipes[i][0], &then, sizeof then) == sizeof then);
        printf("program %d had no ticket %lld ms after the event\n", i, (then - told) / 1000000);
        CHECK(then - told <= 250 * 1000000LL);
        CHECK(waitpid(programs[i], &status, 0) == programs[i] && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(prompts(), 1);
    CHECK_EQ(user.pins, 0);
    TcktApi_Finalize(instance);
    end_agent(agent);
    CHECK_EQ(reader.release(reader.context), 0);
    fclose(reader.say);
    /* Closed when the program ends, which has ended the service by then. */
    CHECK(!fgets(text, sizeof text, reader.hear));
}

const Test agent_tests[] = {
    {"the ticket of another program's login, through the agent", another_program_has_logged_in, NULL},
    {"an agent that ends", the_agent_ends, NULL},
    {"a program that uses the agent leaks nothing", the_agents_use_leaks_nothing, NULL},
    {"removing the card, with three programs and an agent", the_card_is_removed, NULL},
    {NULL, NULL, NULL},
};

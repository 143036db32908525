/* Signals, broken connections and faulty modules, which must not harm the host. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "prompts.h"

/* The signals that the first thread whose name begins with `name` blocks; 0 if there is no such thread. */
static unsigned long long blocked_by(const char *name)
{
    unsigned long long blocked = 0;
    struct dirent *entry;
    DIR *threads = opendir("/proc/self/task");
    while (!blocked && (entry = readdir(threads))) {
        char path[300], line[256];
        int found = 0;
        FILE *status;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        status = fopen(path, "r");
        while (status && fgets(line, sizeof line, status)) {
            found |= strncmp(line, "Name:\t", 6) == 0 && strncmp(line + 6, name, strlen(name)) == 0;
            if (found && strncmp(line, "SigBlk:", 7) == 0)
                blocked = strtoull(line + 7, NULL, 16);
        }
        if (status)
            fclose(status);
    }
    closedir(threads);
    return blocked;
}

static TCK_API_INSTANCE shared;

static void *ask_in_vain(void *data)
{
    char ticket[1024];
    (void)data;
    CHECK_EQ(TcktApi_getTicket(shared, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    return NULL;
}

static void its_threads_receive_no_signals(const void *row)
{
    static const int sent[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGCHLD, SIGPROF};
    /* Only this step of a login has a thread. */
    static const char *const silent[] = {"--misbehave", "validate=no-answer", NULL};
    User user = {.pin = "1234"};
    unsigned long long blocked;
    pthread_t thread;
    size_t i;
    (void)row;
    start_spine(silent);
    use_card("good.p12");
    answer_with(&user);
    shared = TcktApi_Initialize();
    CHECK(pthread_create(&thread, NULL, ask_in_vain, NULL) == 0);
    while ((blocked = blocked_by("ticketapi")) == 0)
        sleep_ms(1);
    for (i = 0; i < sizeof sent / sizeof *sent; i++)
        CHECK(blocked >> (sent[i] - 1) & 1);
    CHECK(!(blocked >> (SIGSEGV - 1) & 1));
    CHECK_EQ(ticketapi_cancel(shared), TCK_API_SUCCESS);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* A server that resets each connection after `answers` responses, or at once if there are none. Its process ends with
   the test. */
static void start_resetting(int answers, int body_first)
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: ";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char url[64];
    pid_t test = getpid();
    CHECK(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 8) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    setenv("TICKETAPI_BASE_URL", url, 1);
    setenv("TICKETAPI_ALLOW_HTTP", "true", 1);
    if (fork() != 0) {
        close(listener);
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    while (getppid() == test) {
        struct linger at_once = {1, 0};
        char request[8192], answer[2048];
        int i, client = accept(listener, NULL, NULL);
        setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        for (i = 0; i < answers; i++) {
            static const char message[] = "<gpOBJECT><gpPARAM name=\"challenge\">QUFBQQ==</gpPARAM>"
                                          "<gpPARAM name=\"signature\">QQ==</gpPARAM></gpOBJECT>";
            if (read(client, request, sizeof request) <= 0)
                break;
            snprintf(answer, sizeof answer, "%s%d\r\n\r\n%s", reply, (int)strlen(message), message);
            if (write(client, answer, strlen(answer)) < 0)
                break;
        }
        if (body_first && read(client, request, 1) < 0) {
        }
        close(client);
    }
    _exit(0);
}

/* A broken connection fails the login, and nothing else. */
static void expect_an_error_or(int success)
{
    char ticket[1024];
    TCK_API_INSTANCE instance = TcktApi_Initialize();
    int code = TcktApi_getTicket(instance, ticket, sizeof ticket, NULL);
    CHECK((success && code == (int)TCK_API_SUCCESS) ||
          (unsigned)code == TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE || (unsigned)code == TCK_API_ERR_AUTHDATA_SYNTAX_ERROR ||
          (unsigned)code == TCK_API_ERR_SERVER_COMM_FAILED);
    TcktApi_destroyTicket(instance);
    TcktApi_Finalize(instance);
}

static void let_the_reset_come(void)
{
    sleep_ms(20);
}

/* SIGPIPE with its default action, as in a host that does not handle it: it would end the test. */
static void sigpipe_is_deadly(void)
{
    sigset_t pipe_only;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    signal(SIGPIPE, SIG_DFL);
    CHECK(sigprocmask(SIG_UNBLOCK, &pipe_only, NULL) == 0);
}

static void plain_connections_are_reset(const void *row)
{
    User user = {.pin = "1234", .role = 0, .while_asked = let_the_reset_come};
    int answers, body;
    (void)row;
    sigpipe_is_deadly();
    use_card("good.p12");
    answer_with(&user);
    for (answers = 0; answers < 3; answers++) {
        for (body = 0; body < 2; body++) {
            start_resetting(answers, body);
            expect_an_error_or(0);
        }
    }
}

static void tls_connections_are_reset(const void *row)
{
    static const char *const at[] = {"activate=reset", "validate=reset", "select-role=reset", "validate=truncated", "activate=close"};
    User user = {.pin = "1234", .role = 0};
    size_t i;
    sigpipe_is_deadly();
    use_card(row);
    answer_with(&user);
    for (i = 0; i < sizeof at / sizeof *at; i++) {
        const char *arguments[] = {"--misbehave", at[i], NULL};
        start_spine(arguments);
        /* The system decides whether the library notices the last one in time to connect again. */
        expect_an_error_or(i + 1 == sizeof at / sizeof *at);
    }
}

static void end_the_server(void)
{
    end_spine();
}

static void the_server_dies(const void *row)
{
    User user;
    TCK_API_INSTANCE instance;
    char ticket[1024];
    (void)row;
    sigpipe_is_deadly();
    at_a_desk(&user);
    user.while_asked = end_the_server;
    expect_an_error_or(0);
    at_a_desk(&user);
    instance = TcktApi_Initialize();
    log_in(instance, ticket);
    end_spine();
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE);
}

static const char *write_script(const char *name, const char *text)
{
    static char path[512];
    FILE *script;
    snprintf(path, sizeof path, "%s/%s-%d", getenv("HOME"), name, (int)getpid());
    script = fopen(path, "w");
    CHECK(script && fprintf(script, "#!/bin/sh\nexec 0<&-\n%s\n", text) > 0 && fclose(script) == 0);
    CHECK(chmod(path, 0700) == 0);
    return path;
}

/* A PIN window and a chooser that have closed their standard input. */
static void prompts_do_not_read(const void *row)
{
    TicketApiPrompter only_pin = {NULL, NULL, NULL, NULL};
    User user = {.pin = "1234"};
    TCK_API_INSTANCE instance;
    char ticket[1024];
    (void)row;
    sigpipe_is_deadly();
    start_spine(NULL);
    use_card("good.p12");
    setenv("TICKETAPI_PINENTRY", write_script("pinentry", "echo OK; exec sleep 1"), 1);
    setenv("TICKETAPI_ROLE_COMMAND", write_script("chooser", "exit 1"), 1);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_AUTHMETHOD_NOT_POSSIBLE);
    only_pin.pin = usual_prompter.pin;
    CHECK_EQ(ticketapi_set_prompter(&only_pin, &user), TCK_API_SUCCESS);
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
}

/* A card whose module has this fault at its first call of `call`, and a deadline of one second. */
static void use_module_that(const char *fault, const char *call)
{
    char script[100];
    snprintf(script, sizeof script, "fault %s 1 %s", call, fault);
    use_card("faulty");
    use_scripted_module("faulty", script);
    setenv("TICKETAPI_CARD_TIMEOUT", "1", 1);
}

static void modules_fail_in_each_call(const void *fault)
{
    static const char *const calls[] = {"C_Initialize", "C_GetSlotList", "C_GetSlotInfo", "C_GetTokenInfo",
        "C_OpenSession", "C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal", "C_GetAttributeValue", "C_Login",
        "C_SignInit", "C_Sign", "C_Logout", "C_CloseSession", "C_Finalize"};
    int hangs = strcmp(fault, "hang") == 0, i, count = sizeof calls / sizeof *calls;
    User user = {.pin = "1234", .role = 0};
    start_spine(NULL);
    answer_with(&user);
    for (i = 0; i < count; i++) {
        TCK_API_INSTANCE instance;
        char ticket[1024];
        long long began;
        int code;
        use_module_that(fault, calls[i]);
        instance = TcktApi_Initialize();
        CHECK(instance > 0);
        began = now_ns();
        code = TcktApi_getTicket(instance, ticket, sizeof ticket, NULL);
        /* The last calls happen after the signature, so the login succeeds without them. */
        if (code != (int)TCK_API_SUCCESS && (unsigned)code != TCK_API_ERR_CARD_TRANSACTION_FAILED &&
            !((unsigned)code == TCK_API_ERR_NOT_INSTALLED && i < 2))
            printf("%s %s: 0x%x\n", calls[i], (const char *)fault, (unsigned)code);
        CHECK(code == (int)TCK_API_SUCCESS || (unsigned)code == TCK_API_ERR_CARD_TRANSACTION_FAILED ||
              ((unsigned)code == TCK_API_ERR_NOT_INSTALLED && i < 2));
        CHECK(i >= 9 || code != (int)TCK_API_SUCCESS);
        /* The deadline, 250 ms, and the time that the rest of a login takes on a busy machine. */
        if (!getenv("TEST_INSTRUMENTED"))
            CHECK(now_ns() - began < (hangs ? 2500 : 1500) * 1000000LL);
        CHECK_EQ(count_children(), 1);
        CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
        TcktApi_Finalize(instance);
    }
    CHECK_EQ(count_threads(), 1);
}

const Test guest_tests[] = {
    {"the library's threads receive no signals of the host", its_threads_receive_no_signals, NULL},
    {"SIGPIPE: plain connections are reset", plain_connections_are_reset, NULL},
    {"SIGPIPE: TLS connections are reset, software card", tls_connections_are_reset, "good.p12"},
    {"SIGPIPE: TLS connections are reset, helper", tls_connections_are_reset, "good"},
    {"SIGPIPE: the server dies during a login and during a session", the_server_dies, NULL},
    {"SIGPIPE: the PIN window and the chooser do not read", prompts_do_not_read, NULL},
    {"a module that crashes in each of its calls", modules_fail_in_each_call, "crash"},
    {"a module that exits in each of its calls", modules_fail_in_each_call, "exit"},
    {"a module that hangs in each of its calls", modules_fail_in_each_call, "hang"},
    {"a module that corrupts its heap in each of its calls", modules_fail_in_each_call, "corrupt"},
    {NULL, NULL, NULL},
};

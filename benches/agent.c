/*
 * Compares the agent with an ssh-agent with one key in the same run. scripts/bench-agent builds and runs it. With
 * --check it fails if a bound is missed.
 *
 * With the argument `ssh` or `ticket` it is a program that makes one request and ends.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef WITH_TICKETAPI
#include "TicketApi.h"
#endif

#define CALLS 20000
#define STARTS 300
#define CLIENTS 200
#define LOAD_SECONDS 3
#define TURNS 5
#define GROWTH_REQUESTS 1000000

typedef struct {
    const char *socket;
    unsigned char hello[64];
    int hello_size;
    unsigned char request[16];
    int request_size;
    int big_endian;
} Agent;

static int failed;
/* Follows each ratio: on how many processors it was measured. */
static const char *where = "";

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static double median(double *times, int count)
{
    qsort(times, (size_t)count, sizeof *times, by_size);
    return times[count / 2];
}

static void report(const char *what, double value, double bound, int at_least)
{
    int good = at_least ? value >= bound : value <= bound;
    char line[128];
    snprintf(line, sizeof line, "%s%s", what, where);
    printf("%-82s %8.2f  (at %s %.2f)%s\n", line, value, at_least ? "least" : "most", bound, good ? "" : "  FAILED");
    fflush(stdout);
    failed += !good;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die(path);
    return fd;
}

static unsigned length_of(const Agent *agent, const unsigned char *b)
{
    return agent->big_endian ? (unsigned)b[0] << 24 | (unsigned)b[1] << 16 | (unsigned)b[2] << 8 | b[3]
                             : (unsigned)b[3] << 24 | (unsigned)b[2] << 16 | (unsigned)b[1] << 8 | b[0];
}

static void read_all(int fd, unsigned char *into, size_t size)
{
    while (size > 0) {
        ssize_t got = read(fd, into, size);
        if (got <= 0)
            die("read");
        into += got;
        size -= (size_t)got;
    }
}

/* Parses the response as ssh-add -l does. */
static unsigned read_answer(const Agent *agent, int fd, unsigned char answer[4096])
{
    unsigned length;
    read_all(fd, answer, 4);
    length = length_of(agent, answer);
    if (length > 4096)
        die("answer");
    read_all(fd, answer, length);
    return length;
}

static unsigned ask(const Agent *agent, int fd, unsigned char answer[4096])
{
    if (write(fd, agent->request, (size_t)agent->request_size) != agent->request_size)
        die("write");
    return read_answer(agent, fd, answer);
}

static Agent ssh_agent(void)
{
    static const unsigned char list_keys[] = {0, 0, 0, 1, 11};
    Agent agent = {.socket = getenv("SSH_AUTH_SOCK"), .request_size = sizeof list_keys, .big_endian = 1};
    memcpy(agent.request, list_keys, sizeof list_keys);
    return agent;
}

static Agent ticket_agent(void)
{
    static const unsigned char hello[] = {3, 0, 0, 0, 0, 1, 0}, no_auth[] = {1, 0, 0, 0, 1};
    Agent agent = {.socket = getenv("TICKETAPI_AGENT_SOCKET")};
    memcpy(agent.hello, hello, agent.hello_size = sizeof hello);
    memcpy(agent.request, no_auth, agent.request_size = sizeof no_auth);
    return agent;
}

static int greeted(const Agent *agent)
{
    unsigned char answer[4096];
    int fd = connect_to(agent->socket);
    if (agent->hello_size > 0) {
        if (write(fd, agent->hello, (size_t)agent->hello_size) != agent->hello_size)
            die("write");
        read_answer(agent, fd, answer);
    }
    if (ask(agent, fd, answer) < 20)
        die("the agent has nothing");
    return fd;
}

#ifndef WITH_TICKETAPI
int main(void)
{
    Agent agent = ssh_agent();
    greeted(&agent);
    return 0;
}
#else

static TCK_API_INSTANCE instance;

static void no_auth(void)
{
    char ticket[1024];
    if (TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL) != 0) {
        fprintf(stderr, "getTicketNoAuth: 0x%x\n", TcktApi_getLastError(instance));
        exit(2);
    }
}

/* Open connections, with alternating requests. */
static void latency(void)
{
    static double ssh_times[CALLS], ticket_times[CALLS];
    unsigned char answer[4096];
    Agent ssh = ssh_agent();
    int i, fd = greeted(&ssh);
    instance = TcktApi_Initialize();
    no_auth();
    for (i = 0; i < CALLS; i++) {
        double began = now();
        ask(&ssh, fd, answer);
        ssh_times[i] = now() - began;
        began = now();
        no_auth();
        ticket_times[i] = now() - began;
    }
    printf("getTicketNoAuth %.1f us, list-keys %.1f us\n", median(ticket_times, CALLS), median(ssh_times, CALLS));
    report("getTicketNoAuth through the agent / ssh-agent, list keys", median(ticket_times, CALLS) / median(ssh_times, CALLS), 1.2, 0);
    close(fd);
    TcktApi_Finalize(instance);
}

extern char **environ;

static double run(const char *program, const char *argument)
{
    char *argv[] = {(char *)program, (char *)argument, NULL};
    double began = now();
    int status;
    pid_t child;
    if (posix_spawn(&child, program, NULL, NULL, argv, environ) != 0 || waitpid(child, &status, 0) != child || status != 0)
        die(program);
    return now() - began;
}

/* The time of a program from its start to its end. */
static void fresh(const char *self, const char *ssh_program)
{
    static double ssh_times[STARTS], ticket_times[STARTS];
    int i;
    for (i = 0; i < STARTS; i++) {
        ssh_times[i] = run(ssh_program, NULL);
        ticket_times[i] = run(self, "ticket");
    }
    printf("fresh program: ticket %.0f us, keys %.0f us\n", median(ticket_times, STARTS), median(ssh_times, STARTS));
    report("fresh C program to its ticket / to the keys of ssh-agent", median(ticket_times, STARTS) / median(ssh_times, STARTS), 1.5, 0);
}

typedef struct {
    int fd;
    unsigned have;
    double asked;
    unsigned char answer[4096];
} Client;

/* Clients that send the next request after each response, until there are `limit` responses or the time is over. */
static double load(const Agent *agent, long limit, double *slowest)
{
    static Client clients[CLIENTS];
    struct epoll_event events[CLIENTS];
    int poller = epoll_create1(EPOLL_CLOEXEC), i, count;
    long answers = 0;
    double began, time = 0;
    *slowest = 0;
    for (i = 0; i < CLIENTS; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)i};
        clients[i].fd = greeted(agent);
        clients[i].have = 0;
        epoll_ctl(poller, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    began = now();
    for (i = 0; i < CLIENTS; i++) {
        clients[i].asked = now();
        if (write(clients[i].fd, agent->request, (size_t)agent->request_size) != agent->request_size)
            die("write");
    }
    while (time < LOAD_SECONDS * 1e6 && (limit == 0 || answers < limit)) {
        count = epoll_wait(poller, events, CLIENTS, 1000);
        time = now() - began;
        for (i = 0; i < count; i++) {
            Client *client = &clients[events[i].data.u32];
            ssize_t got = read(client->fd, client->answer + client->have, sizeof client->answer - client->have);
            double answered;
            if (got <= 0)
                die("read");
            client->have += (unsigned)got;
            if (client->have < 4 || client->have < 4 + length_of(agent, client->answer))
                continue;
            answered = now();
            if (answered - client->asked > *slowest)
                *slowest = answered - client->asked;
            client->have = 0;
            client->asked = answered;
            answers++;
            if (write(client->fd, agent->request, (size_t)agent->request_size) != agent->request_size)
                die("write");
        }
        if (limit > 0)
            time = 0;
    }
    time = now() - began;
    for (i = 0; i < CLIENTS; i++)
        close(clients[i].fd);
    close(poller);
    return (double)answers / time * 1e6;
}

static void loads(void)
{
    Agent ssh = ssh_agent(), ticket = ticket_agent();
    double ssh_rates[TURNS], ticket_rates[TURNS], slowest[TURNS], of_ssh;
    int i;
    for (i = 0; i < TURNS; i++) {
        ssh_rates[i] = load(&ssh, 0, &of_ssh);
        ticket_rates[i] = load(&ticket, 0, &slowest[i]);
        printf("%d clients: %.0f answers/s, slowest %.1f ms; ssh-agent %.0f, %.1f ms\n", CLIENTS, ticket_rates[i],
               slowest[i] / 1e3, ssh_rates[i], of_ssh / 1e3);
    }
    report("answers a second to 200 clients at once / of ssh-agent", median(ticket_rates, TURNS) / median(ssh_rates, TURNS), 1, 1);
    median(slowest, TURNS);
    report("the slowest of these answers, ms", slowest[TURNS - 1] / 1e3, 100, 0);
}

static long status_of(const char *process, const char *name)
{
    char path[300], line[256];
    long value = -1;
    FILE *file;
    snprintf(path, sizeof path, "/proc/%s/status", process);
    file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) == 0)
            value = atol(line + strlen(name) + 1);
    }
    if (!file || value < 0)
        die(path);
    fclose(file);
    return value;
}

/* Of all threads. */
static long wake_ups(const char *process)
{
    char path[300];
    long count = 0;
    struct dirent *entry;
    DIR *threads;
    snprintf(path, sizeof path, "/proc/%s/task", process);
    threads = opendir(path);
    while (threads && (entry = readdir(threads))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/task/%.20s", process, entry->d_name);
        count += status_of(path, "voluntary_ctxt_switches");
    }
    if (!threads)
        die(path);
    closedir(threads);
    return count;
}

/* What it needs while there are no requests. */
static void idle(const char *process, int seconds, const char *what)
{
    char text[100];
    long wakes;
    sleep(1);
    wakes = wake_ups(process);
    sleep((unsigned)seconds);
    snprintf(text, sizeof text, "idle agent %s, resident MiB", what);
    report(text, (double)status_of(process, "VmRSS") / 1024, 12, 0);
    snprintf(text, sizeof text, "its wake-ups in %d s", seconds);
    report(text, (double)(wake_ups(process) - wakes), 0, 0);
}

/* What many requests leave behind. */
static void growth(const char *process)
{
    Agent ticket = ticket_agent();
    double slowest;
    long before = status_of(process, "VmRSS");
    load(&ticket, GROWTH_REQUESTS, &slowest);
    report("its growth in a million requests, MiB", (double)(status_of(process, "VmRSS") - before) / 1024, 1, 0);
}

/* Binds all threads of a process to these processors. */
static void pin(const char *process, const cpu_set_t *processors)
{
    char path[300];
    struct dirent *entry;
    DIR *threads;
    snprintf(path, sizeof path, "/proc/%s/task", process);
    threads = opendir(path);
    while (threads && (entry = readdir(threads))) {
        /* A thread may end meanwhile. */
        if (entry->d_name[0] != '.' && sched_setaffinity(atoi(entry->d_name), sizeof *processors, processors) != 0 && errno != ESRCH)
            die("sched_setaffinity");
    }
    if (!threads)
        die(path);
    closedir(threads);
}

/* Whether the scheduler puts client and agents on the same processor decides a comparison, so all are bound to one
   processor, and then to two. */
static void on_processors(const char *self, const char *ssh_program, const char *const agents[2])
{
    static const char *const names[] = {" (1 processor)", " (2 processors)"};
    cpu_set_t usable, some;
    int processor, count = 0;
    CPU_ZERO(&some);
    if (sched_getaffinity(0, sizeof usable, &usable) != 0)
        die("sched_getaffinity");
    for (processor = 0; processor < CPU_SETSIZE && count < 2; processor++) {
        if (!CPU_ISSET(processor, &usable))
            continue;
        CPU_SET(processor, &some);
        where = names[count++];
        pin("self", &some);
        pin(agents[0], &some);
        pin(agents[1], &some);
        latency();
        fresh(self, ssh_program);
        loads();
    }
    if (count < 2)
        printf("there is one processor only: nothing is measured on two\n");
}

int main(int argc, char **argv)
{
    const char *agents[2];
    char ticket[1024];
    if (argc > 1 && strcmp(argv[1], "ticket") == 0) {
        instance = TcktApi_Initialize();
        no_auth();
        return 0;
    }
    if (argc < 5)
        return 2;
    agents[0] = argv[2];
    agents[1] = argv[3];
    idle(argv[2], atoi(argv[4]), "without a session");
    instance = TcktApi_Initialize();
    if (TcktApi_getTicket(instance, ticket, sizeof ticket, NULL) != 0)
        die("getTicket");
    TcktApi_Finalize(instance);
    idle(argv[2], atoi(argv[4]), "with a session");
    growth(argv[2]);
    on_processors(argv[0], argv[1], agents);
    return argc > 5 && strcmp(argv[5], "--check") == 0 && failed;
}
#endif

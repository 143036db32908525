/* The harness on Windows, where scripts/windows/check-c runs the tests. The simulators run on the system that Wine
   runs on: tests/windows/simulators.py starts them.

   What stays for Linux, and why:
   - processes.c, and in sign.c and openid.c what forks: Windows has no fork();
   - clock.c, and in session.c what suspends the computer: a program cannot take the place of the clock there;
   - host.c, guests.c, secrets.c: they read /proc, and handle signals;
   - agent.c: scripts/windows/check-agent is its twin;
   - loader_tests.c: tests/windows/login.c loads the library by name, and check-places and Java unload it;
   - openid.c and nuts.c as a whole: their browser and pinentry are shell scripts;
   - in sign.c the cards of two tokens: the module has one token, and there is no SoftHSM;
   - memory in misuse.c and session.c: Wine's libraries are counted, too. */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <windows.h>
#include <tlhelp32.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#define TEST_SECONDS 120

static char home[MAX_PATH];
static char log_file[MAX_PATH];
static SOCKET simulator = INVALID_SOCKET;
static int simulators;

const char *simulator_log(void)
{
    return log_file;
}

int setenv(const char *name, const char *value, int replace)
{
    return replace || !getenv(name) ? _putenv_s(name, value) : 0;
}

int unsetenv(const char *name)
{
    return _putenv_s(name, "");
}

int rand_r(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return (int)(*seed >> 16 & 0x7fff);
}

long long now_ns(void)
{
    LARGE_INTEGER now, second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&second);
    return now.QuadPart / second.QuadPart * 1000000000LL + now.QuadPart % second.QuadPart * 1000000000LL / second.QuadPart;
}

void sleep_ms(int ms)
{
    Sleep((DWORD)ms);
}

static void ask_for_simulator(const char *request)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char *reply = malloc(1 << 16), *line;
    int length = 0, count;
    WSADATA data;

    CHECK(reply && WSAStartup(MAKEWORD(2, 2), &data) == 0);
    address.sin_port = htons((u_short)atoi(needed("TEST_SIMULATORS")));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    simulator = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(simulator != INVALID_SOCKET && connect(simulator, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(send(simulator, request, (int)strlen(request), 0) == (int)strlen(request));
    do {
        count = recv(simulator, reply + length, (1 << 16) - 1 - length, 0);
        CHECK(count > 0);
        length += count;
    } while (reply[length - 1] != 0);
    /* The file of its output is the first line, and the rest is the beginning of it. */
    line = strchr(reply, '\n');
    CHECK(line != NULL);
    snprintf(log_file, sizeof log_file, "%.*s", (int)(line - reply), reply);
    free(reply);
    simulators++;
}

void start_spine(const char *const *arguments)
{
    char request[1024] = "spine", line[512], *value;

    while (arguments && *arguments) {
        strcat(strcat(request, "\t"), *arguments++);
        CHECK(strlen(request) < sizeof request / 2);
    }
    ask_for_simulator(strcat(request, "\n"));
    value = greeting("url", line, sizeof line);
    CHECK(value != NULL);
    setenv("TICKETAPI_BASE_URL", value, 1);
    value = greeting("ca_file", line, sizeof line);
    if (value) {
        char file[512];
        snprintf(file, sizeof file, "Z:%s", value);
        setenv("TICKETAPI_CA_FILE", file, 1);
    } else {
        setenv("TICKETAPI_ALLOW_HTTP", "true", 1);
    }
}

void end_spine(void)
{
    char end;
    CHECK(shutdown(simulator, SD_SEND) == 0 && recv(simulator, &end, 1, 0) == 0);
    closesocket(simulator);
}

/* The cards of test-cards, as scripts for the module's own token. */
static const struct {
    const char *name, *files, *script;
} cards[] = {
    {"good", "good", ""},
    {"expired", "expired", ""},
    {"no-certificate", "good", "without certificate"},
    {"no-key", "good", "without key"},
    {"locked", "good", "flag USER_PIN_LOCKED C_Login 0"},
    {"locks", "good", "flag USER_PIN_LOCKED C_Login 1\nfault C_Login 1 error 0xa4"},
    {"unknown", "good", "fault C_GetTokenInfo 1 error 0xe1"},
    {"no-reader", "good", "no-slots"},
    {"crashes", "good", "fault C_Sign 1 crash"},
    {"removed", "good", "fault C_Sign 1 error 0x32"},
    {"hangs", "good", "fault C_Sign 1 hang"},
};

void use_card(const char *name)
{
    const char *folder = needed("TEST_CARDS"), *end = strrchr(name, '.');
    char file[512], script[512];
    FILE *text;
    size_t i;

    if (end && strcmp(end, ".p12") == 0) {
        snprintf(file, sizeof file, "%s/%s", folder, name);
        setenv("TICKETAPI_SOFTWARE_CARD", file, 1);
        return;
    }
    for (i = 0; strcmp(cards[i].name, name) != 0; i++)
        CHECK(i + 1 < sizeof cards / sizeof *cards);
    snprintf(file, sizeof file, "%s/%s.dll", home, name);
    CHECK(CopyFileA(needed("TEST_MODULE"), file, FALSE));
    snprintf(script, sizeof script, "%s.script", file);
    text = fopen(script, "w");
    CHECK(text && fprintf(text, "token 1234 %s/%s.der %s/%s.key\n%s\n", folder, cards[i].files, folder, cards[i].files,
                          cards[i].script) > 0 && fclose(text) == 0);
    setenv("TICKETAPI_PKCS11_MODULE", file, 1);
    setenv("TICKETAPI_CARD_WAIT", "0", 1);
    setenv("TICKETAPI_CARD_AFTER_LOGIN", "leave", 1);
}

int count_threads(void)
{
    HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    THREADENTRY32 thread = {.dwSize = sizeof thread};
    int count = 0, more;
    for (more = Thread32First(all, &thread); more; more = Thread32Next(all, &thread))
        count += thread.th32OwnerProcessID == GetCurrentProcessId();
    CloseHandle(all);
    return count;
}

int threads_become(int count)
{
    int i;
    for (i = 0; i < 1000 && count_threads() != count; i++)
        Sleep(1);
    return count_threads() == count;
}

int count_children(void)
{
    HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    PROCESSENTRY32 process = {.dwSize = sizeof process};
    int count = simulators, more;
    for (more = Process32First(all, &process); more; more = Process32Next(all, &process))
        count += process.th32ParentProcessID == GetCurrentProcessId();
    CloseHandle(all);
    return count;
}

/* Runs the test of this number in a process of its own, as the tests before it may have left it. Returns whether it
   passed. */
static int passes(const char *program, int number, const char *name)
{
    STARTUPINFOA startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process;
    DWORD code = 1;
    char command[MAX_PATH + 64];
    long long began = now_ns();

    snprintf(command, sizeof command, "\"%s\" --number %d", program, number);
    fflush(stdout);
    CHECK(CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &process));
    if (WaitForSingleObject(process.hProcess, TEST_SECONDS * 1000) != WAIT_OBJECT_0) {
        printf("it does not end\n");
        TerminateProcess(process.hProcess, 1);
        WaitForSingleObject(process.hProcess, INFINITE);
    }
    GetExitCodeProcess(process.hProcess, &code);
    CloseHandle(process.hProcess);
    CloseHandle(process.hThread);
    if (code > 1)
        printf("ended with the code 0x%x\n", (unsigned)code);
    printf("%s %s (%d ms)\n", code == 0 ? "ok" : "FAILED", name, (int)((now_ns() - began) / 1000000));
    return code == 0;
}

int run_tests(const Test *const *lists, int argc, char **argv)
{
    int passed = 0, failed = 0, number = 0, wanted = -1;
    const Test *test;

    if (argc == 3 && strcmp(argv[1], "--number") == 0)
        wanted = atoi(argv[2]);
    for (; *lists; lists++) {
        for (test = *lists; test->name; test++, number++) {
            if (number == wanted) {
                snprintf(home, sizeof home, "%s/%d-%d", needed("TEST_STATE"), (int)sizeof(void *) * 8, number);
                CHECK(CreateDirectoryA(home, NULL));
                test->run(test->row);
                return 0;
            }
            if (wanted < 0 && selected(test->name, argc, argv))
                passes(argv[0], number, test->name) ? passed++ : failed++;
        }
    }
    printf("%d passed, %d failed\n", passed, failed);
    fflush(stdout);
    return failed > 0 || passed == 0;
}

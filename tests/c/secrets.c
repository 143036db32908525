/* PINs and tickets are not in this program's memory when they are no longer needed, and not in anything that it or a
   helper has or writes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "prompts.h"

/* The secrets to search for are masked, so that the search does not put them into memory. */
#define MASK 0x5a
static const char masked_pin[] = {/* "Kestrel*7391:Bittern*5528", of the canary cards */
    0x11, 0x3f, 0x29, 0x2e, 0x28, 0x3f, 0x36, 0x70, 0x6d, 0x69, 0x63, 0x6b, 0x60, 0x18, 0x33, 0x2e, 0x2e, 0x3f, 0x28,
    0x34, 0x70, 0x6f, 0x6f, 0x68, 0x62};
enum { PIN_LENGTH = sizeof masked_pin, LONGEST = 128 };

typedef struct {
    char bytes[LONGEST];
    int length;
} Secret;

static Secret pin, ticket;

/* The forms in which a secret may be written: raw, UTF-16, hex in both cases, URL-escaped, and base64 without the
   digits that depend on neighbouring bytes. The secrets contain no characters that XML escapes. */
enum { FORMS = 8 };
typedef struct {
    char bytes[3 * LONGEST];
    int length;
} Needle;

static void put(Needle *needle, char byte)
{
    needle->bytes[needle->length++] = (char)(byte ^ MASK);
}

static void make_needles(const Secret *secret, Needle needles[FORMS])
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int i, shift;
    memset(needles, 0, FORMS * sizeof *needles);
#define AT(i) ((unsigned char)(secret->bytes[i] ^ MASK))
    for (i = 0; i < secret->length; i++) {
        int plain = (AT(i) >= '0' && AT(i) <= '9') || ((AT(i) | 32) >= 'a' && (AT(i) | 32) <= 'z');
        put(&needles[0], (char)AT(i));
        put(&needles[1], (char)AT(i));
        put(&needles[1], 0);
        put(&needles[2], digits[AT(i) >> 4]);
        put(&needles[2], digits[AT(i) & 15]);
        put(&needles[3], digits[16 + (AT(i) >> 4)]);
        put(&needles[3], digits[16 + (AT(i) & 15)]);
        if (plain) {
            put(&needles[4], (char)AT(i));
        } else {
            put(&needles[4], '%');
            put(&needles[4], digits[16 + (AT(i) >> 4)]);
            put(&needles[4], digits[16 + (AT(i) & 15)]);
        }
    }
    for (shift = 0; shift < 3; shift++) {
        for (i = shift; i + 2 < secret->length; i += 3) {
            unsigned three = (unsigned)AT(i) << 16 | (unsigned)AT(i + 1) << 8 | AT(i + 2);
            put(&needles[5 + shift], base64[three >> 18]);
            put(&needles[5 + shift], base64[three >> 12 & 63]);
            put(&needles[5 + shift], base64[three >> 6 & 63]);
            put(&needles[5 + shift], base64[three & 63]);
        }
    }
}

static int count_in(const char *bytes, size_t length, const Secret *secret)
{
    Needle needles[FORMS];
    int found = 0, i;
    make_needles(secret, needles);
    for (i = 0; i < FORMS; i++) {
        size_t at;
        for (at = 0; at + (size_t)needles[i].length <= length; at++) {
            int same = 0;
            while (same < needles[i].length && (bytes[at + (size_t)same] ^ MASK) == needles[i].bytes[same])
                same++;
            found += same == needles[i].length;
        }
    }
    return found;
}

/* Counts in all writable memory of this process. */
static int count_in_memory(const Secret *secret)
{
    static char piece[1 << 20];
    int found = 0, memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    CHECK(memory >= 0 && maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned long long from, to;
        char rights[8];
        if (sscanf(line, "%llx-%llx %7s", &from, &to, rights) != 3 || strncmp(rights, "rw", 2) != 0)
            continue;
        while (from < to) {
            size_t wanted = to - from < sizeof piece ? (size_t)(to - from) : sizeof piece;
            ssize_t length = pread(memory, piece, wanted, (off_t)from);
            if (length <= 0)
                break;
            found += count_in(piece, (size_t)length, secret);
            memset(piece, 0, (size_t)length);
            /* The pieces overlap by more than a needle's length. */
            from += (unsigned long long)length > 512 && from + (unsigned long long)length < to
                        ? (unsigned long long)length - 512
                        : (unsigned long long)length;
        }
    }
    fclose(maps);
    close(memory);
    return found;
}

static int count_in_file(const char *path)
{
    /* On the heap, where count_in_memory does not search it while it counts. */
    char *text = malloc(1 << 20);
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), found = 0;
    ssize_t length = file < 0 ? 0 : read(file, text, 1 << 20);
    CHECK(length < 1 << 20);
    if (length > 0)
        found = count_in(text, (size_t)length, &pin) + (ticket.length ? count_in(text, (size_t)length, &ticket) : 0);
    if (file >= 0)
        close(file);
    memset(text, 0, 1 << 20);
    free(text);
    return found;
}

static int found_in_folder;

static int look_into(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)where;
    if (kind == FTW_F)
        found_in_folder += count_in_file(path);
    return 0;
}

/* Counts in all files of a folder. */
static int count_in_folder(const char *folder)
{
    found_in_folder = 0;
    CHECK(nftw(folder, look_into, 8, FTW_PHYS) == 0);
    return found_in_folder;
}

static int type_the_canary(void *user_data, const TicketApiPinRequest *request, char *typed, unsigned int size)
{
    int i;
    (void)user_data;
    CHECK(request->problem == TICKETAPI_PIN_FIRST && size > PIN_LENGTH);
    for (i = 0; i < PIN_LENGTH; i++)
        typed[i] = (char)(masked_pin[i] ^ MASK);
    typed[i] = 0;
    return TICKETAPI_ANSWERED;
}

static int take_the_first(void *user_data, const TicketApiRole *roles, unsigned int count, unsigned int *chosen)
{
    (void)user_data;
    CHECK(roles && count > 0);
    *chosen = 0;
    return TICKETAPI_ANSWERED;
}

/* Takes the ticket from the caller's buffer. Only its second half is searched for, because malloc may have overwritten
   the beginning of what was freed. */
static void mask_the_ticket(char buffer[1024], unsigned length)
{
    unsigned i, half = length / 2;
    CHECK(length - half <= LONGEST);
    for (i = half; i < length; i++)
        ticket.bytes[i - half] = (char)(buffer[i] ^ MASK);
    ticket.length = (int)(length - half);
    memset(buffer, 0, 1024);
}

/* What the library and its helper write when everything is set to log as much as possible. */
static char folder[128];

static void ask_for_logs(void)
{
    char path[160];
    int file;
    snprintf(folder, sizeof folder, "%s/canary-%d", getenv("HOME"), (int)getpid());
    CHECK(mkdir(folder, 0700) == 0 && chdir(folder) == 0);
    setenv("HOME", folder, 1);
    setenv("TMPDIR", folder, 1);
    setenv("RUST_LOG", "trace", 1);
    setenv("RUST_BACKTRACE", "full", 1);
    setenv("OPENSC_DEBUG", "9", 1);
    snprintf(path, sizeof path, "%s/tls-keys", folder);
    setenv("SSLKEYLOGFILE", path, 1);
    snprintf(path, sizeof path, "%s/output", folder);
    file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    CHECK(file > 2);
    report_to = fcntl(1, F_DUPFD_CLOEXEC, 10);
    CHECK(dup2(file, 1) == 1 && dup2(file, 2) == 2);
}

/* Makes the helper record its descriptors, arguments and environment while it has the PIN, before it signs. */
static void watch_the_helper(void)
{
    char script[512];
    snprintf(script, sizeof script, "report C_Login %s/at-login\nreport C_Sign %s/at-signing", folder, folder);
    use_scripted_module("canary", script);
}

typedef struct {
    const char *card;
    const char *roles;  /* the simulator's three where it is NULL; many make the answer with the ticket a long one */
    int server_is_gone; /* before the session is ended, so that no later answer lies over the one with the ticket */
} Login;

static void no_secret_is_left(const void *row)
{
    const Login *login = row;
    const char *card = login->card, *const roles[] = {"--roles", login->roles, NULL};
    TicketApiPrompter prompter = {type_the_canary, NULL, take_the_first, NULL};
    int through_the_helper = strstr(card, ".p12") == NULL, i, code;
    unsigned used;
    TCK_API_INSTANCE instance;
    char buffer[1024], words[254], *planted;
    FILE *file;
    if (getenv("TEST_INSTRUMENTED")) /* checkers keep what was freed, and terabytes of their own */
        return;
    memcpy(pin.bytes, masked_pin, PIN_LENGTH);
    pin.length = PIN_LENGTH;
    start_spine(login->roles ? roles : NULL);
    use_card(card);
    ask_for_logs();
    if (through_the_helper)
        watch_the_helper();
    CHECK_EQ(ticketapi_set_prompter(&prompter, NULL), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, buffer, sizeof buffer, &used), TCK_API_SUCCESS);
    mask_the_ticket(buffer, used);
    CHECK(!through_the_helper || (access("at-login", R_OK) == 0 && access("at-signing", R_OK) == 0));
    CHECK_EQ(count_in_memory(&pin), 0);
    /* The session contains it. */
    CHECK(count_in_memory(&ticket) > 0);
    CHECK_EQ(count_in_file("/proc/self/environ") + count_in_file("/proc/self/cmdline"), 0);
    if (login->server_is_gone)
        end_spine();
    code = TcktApi_destroyTicket(instance);
    CHECK_EQ(code, login->server_is_gone ? TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE : TCK_API_SUCCESS);
    CHECK_EQ(count_in_memory(&ticket), 0);

    /* A login that fails after the PIN was entered, and its error texts. */
    if (!login->server_is_gone)
        end_spine();
    code = TcktApi_getTicket(instance, buffer, sizeof buffer, NULL);
    CHECK_EQ(code, TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_getErrorDescription(instance, (unsigned)code, words, sizeof words, NULL), TCK_API_SUCCESS);
    CHECK_EQ(count_in(words, strlen(words), &pin) + count_in(words, strlen(words), &ticket), 0);
    TcktApi_Finalize(instance);
    CHECK_EQ(count_in_memory(&pin) + count_in_memory(&ticket), 0);
    CHECK_EQ(count_in_folder(folder), 0);
    CHECK(access("tls-keys", F_OK) != 0);

    /* A planted secret is found, in memory and in a file. */
    planted = malloc(PIN_LENGTH);
    for (i = 0; i < PIN_LENGTH; i++)
        planted[i] = (char)(masked_pin[i] ^ MASK);
    CHECK(count_in_memory(&pin) > 0);
    file = fopen("planted", "w");
    CHECK(file && fwrite(planted, PIN_LENGTH, 1, file) == 1 && fclose(file) == 0);
    CHECK_EQ(count_in_folder(folder), 1);
    memset(planted, 0, PIN_LENGTH);
    free(planted);
}

static const Login by_file = {"canary.p12", NULL, 0}, by_helper = {"canary", NULL, 0};
static const Login few_roles = {"canary.p12", "1", 1}, many_roles = {"canary.p12", "200", 1};

const Test secret_tests[] = {
    {"no PIN or ticket is left: software card", no_secret_is_left, &by_file},
    {"no PIN or ticket is left: helper", no_secret_is_left, &by_helper},
    {"no PIN or ticket is left: the server is unreachable", no_secret_is_left, &few_roles},
    {"no PIN or ticket is left: a long response, and the server is unreachable", no_secret_is_left, &many_roles},
    {NULL, NULL, NULL},
};

/* Wrong parameters, wrong handles, wrong order. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "prompts.h"

static void calls_before_initialize(const void *row)
{
    char text[64];
    unsigned used = 7;
    (void)row;
    CHECK_EQ(TcktApi_getLastError(0), 0);
    CHECK_EQ(TcktApi_getTicket(1, text, sizeof text, &used), TCK_API_ERR_NOT_INITIALIZED);
    CHECK_EQ(TcktApi_getLastError(1), TCK_API_ERR_NOT_INITIALIZED);
    CHECK_EQ(TcktApi_getTicketNoAuth(1, text, sizeof text, &used), TCK_API_ERR_NOT_INITIALIZED);
    CHECK_EQ(TcktApi_getNewTicket(1, text, sizeof text, &used), TCK_API_ERR_NOT_INITIALIZED);
    CHECK_EQ(TcktApi_destroyTicket(1), TCK_API_ERR_NOT_INITIALIZED);
    CHECK_EQ(TcktApi_destroyTicket(0), TCK_API_ERR_NOT_INITIALIZED);
    CHECK_EQ(TcktApi_getLastError(2), TCK_API_ERR_NOT_INITIALIZED);
    CHECK_EQ(TcktApi_isTerminalServiceSession(1), 0);
    CHECK_EQ(ticketapi_cancel(1), TCK_API_ERR_NOT_INITIALIZED);
    CHECK_EQ(ticketapi_ticket_size(1, &used), TCK_API_ERR_NOT_INITIALIZED);
    CHECK_EQ(TcktApi_GetGAVersion(0, GATICKET_VERSION_ENGINE), 0);
    CHECK_EQ(TcktApi_getLastError(0), TCK_API_ERR_NOT_INITIALIZED);
    CHECK(TcktApi_GetGAVersion(0, GATICKET_VERSION_API) != 0);
    CHECK(GetDllVersion() != 0);
    CHECK_EQ(used, 7);
    TcktApi_Finalize(1);
    TcktApi_Finalize(0);
    CHECK_EQ(TcktApi_getErrorDescription(0, TCK_API_ERR_NOT_INITIALIZED, text, sizeof text, NULL), TCK_API_SUCCESS);
}

static void null_and_zero_are_refused_before_any_prompt(const void *row)
{
    User user;
    char text[64];
    unsigned used = 7;
    TCK_API_INSTANCE instance;
    (void)row;
    at_a_desk(&user);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, NULL, 64, &used), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getTicket(instance, text, 0, &used), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getTicket(instance, NULL, 0, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getNewTicket(instance, NULL, 64, &used), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getNewTicket(instance, text, 0, &used), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, NULL, 64, &used), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getErrorDescription(instance, 0, NULL, 64, &used), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getErrorDescription(instance, 0, text, 0, &used), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_GetGAVersion(instance, 3), 0);
    CHECK_EQ(TcktApi_getLastError(instance), TCK_API_ERR_INVALID_PARAMETER);
    CHECK(TcktApi_GetGAVersion(instance, GATICKET_VERSION_ENGINE) != 0);
    CHECK_EQ(TcktApi_getLastError(instance), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_set(NULL, "x"), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_set("role", NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_set("role", "\xff"), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(user.pins, 0);
    CHECK_EQ(used, 7);
    CHECK_EQ(spine_requests("/login"), 0);
}

/* Buffers of every size around the ticket's length: what is written to them, and nothing beyond. */
static void buffers_of_every_size(const void *row)
{
    User user;
    char ticket[1024], buffer[1100];
    unsigned length, size, used, i;
    TCK_API_INSTANCE instance;
    (void)row;
    at_a_desk(&user);
    instance = TcktApi_Initialize();
    length = log_in(instance, ticket);
    for (size = 1; size < length + 20; size++) {
        int fits = size > length;
        memset(buffer, 'x', sizeof buffer);
        used = 0xdead;
        CHECK_EQ(TcktApi_getTicketNoAuth(instance, buffer, size, &used), fits ? 0 : TCK_API_ERR_BUFFER_TOO_SMALL);
        CHECK_EQ(used, fits ? length : 0xdead);
        for (i = 0; i < sizeof buffer; i++) {
            char expected = 'x';
            if (fits && i < length)
                expected = ticket[i];
            else if (fits && i < length + 3 && i < size)
                expected = 0;
            CHECK(buffer[i] == expected);
        }
        CHECK_EQ(TcktApi_getTicket(instance, buffer, size, NULL), fits ? 0 : TCK_API_ERR_BUFFER_TOO_SMALL);
    }
    used = 0;
    CHECK_EQ(ticketapi_ticket_size(instance, &used), TCK_API_SUCCESS);
    CHECK_EQ(used, length + 1);
    CHECK_EQ(ticketapi_ticket_size(instance, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getTicket(instance, buffer, 8, NULL), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getErrorDescription(instance, TCK_API_ERR_BUFFER_TOO_SMALL, buffer, 254, NULL), TCK_API_SUCCESS);
    snprintf(ticket, sizeof ticket, "The buffer is too small: the ticket has %u bytes and needs a buffer of %u", length, length + 1);
    CHECK_TEXT(buffer, ticket);
    /* A buffer of an impossible size is not written to its end. */
    CHECK_EQ(TcktApi_getTicket(instance, buffer, UINT_MAX, NULL), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 1);
}

static void a_second_call_with_a_larger_buffer_does_not_log_in_again(const void *row)
{
    User user;
    char first[1024], second[1024], small[8];
    TCK_API_INSTANCE instance, other;
    unsigned used = 0;
    (void)row;
    at_a_desk(&user);
    instance = TcktApi_Initialize();
    other = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, small, sizeof small, &used), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getTicket(instance, first, sizeof first, &used), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 1);
    CHECK_EQ(TcktApi_getNewTicket(instance, small, sizeof small, &used), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(user.pins, 2);
    CHECK_EQ(TcktApi_getNewTicket(instance, small, sizeof small, &used), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getNewTicket(instance, second, sizeof second, &used), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 2);
    CHECK(strcmp(first, second) != 0);
    CHECK_EQ(TcktApi_getNewTicket(instance, first, sizeof first, &used), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 3);
    CHECK(strcmp(first, second) != 0);
    /* A handle's waiting ticket does not belong to other handles, and ends with its session. */
    CHECK_EQ(TcktApi_getNewTicket(instance, small, sizeof small, &used), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getNewTicket(other, second, sizeof second, &used), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 5);
    CHECK_EQ(TcktApi_getNewTicket(instance, second, sizeof second, &used), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 6);
}

static void wrong_handles(const void *row)
{
    TCK_API_INSTANCE instance = TcktApi_Initialize(), stale = TcktApi_Initialize();
    TCK_API_INSTANCE wrong[] = {0, -1, LONG_MIN, LONG_MAX, INT_MAX, INT_MIN, 0, 0, 0, 0, 0, 0, 0};
    size_t i, count = sizeof wrong / sizeof *wrong;
    char text[1024];
    (void)row;
    wrong[count - 5] = instance + (1L << 16);
#if LONG_MAX > INT_MAX
    wrong[count - 7] = 1L << 31;
    wrong[count - 6] = 1L << 32;
    wrong[count - 4] = instance + (1L << 32);
#endif
    wrong[count - 3] = -instance;
    wrong[count - 2] = stale;
    wrong[count - 1] = stale + 1;
    CHECK(instance > 0 && instance <= INT_MAX && stale > 0 && stale <= INT_MAX && stale != instance);
    TcktApi_Finalize(stale);
    CHECK_EQ(TcktApi_getLastError(stale), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
    TcktApi_Finalize(stale);
    CHECK_EQ(TcktApi_getLastError(stale), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
    for (i = 0; i < count; i++) {
        unsigned number = 7;
        CHECK_EQ(TcktApi_getTicket(wrong[i], text, sizeof text, NULL), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
        CHECK_EQ(TcktApi_getTicketNoAuth(wrong[i], text, sizeof text, NULL), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
        CHECK_EQ(TcktApi_getNewTicket(wrong[i], text, sizeof text, NULL), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
        CHECK_EQ(TcktApi_destroyTicket(wrong[i]), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
        CHECK_EQ(TcktApi_getLastError(wrong[i]), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
        CHECK_EQ(TcktApi_isTerminalServiceSession(wrong[i]), 0);
        CHECK_EQ(TcktApi_GetGAVersion(wrong[i], GATICKET_VERSION_ENGINE), 0);
        CHECK_EQ(ticketapi_cancel(wrong[i]), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
        CHECK_EQ(ticketapi_role_count(wrong[i], &number), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
        if (wrong[i] != 0)
            CHECK_EQ(TcktApi_getErrorDescription(wrong[i], 0, text, sizeof text, NULL), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
        TcktApi_Finalize(wrong[i]);
        CHECK_EQ(number, 7);
    }
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    CHECK_EQ(TcktApi_getLastError(instance), TCK_API_SUCCESS);
}

static void random_calls_do_no_harm(const void *row)
{
    unsigned seed = 20170301, i, count = (unsigned)scaled(200000);
    char text[300];
    unsigned used;
    TCK_API_INSTANCE live[8] = {0};
    (void)row;
    for (i = 0; i < count; i++) {
        int which = rand_r(&seed) % 12;
        TCK_API_INSTANCE handle = rand_r(&seed) % 2 ? live[rand_r(&seed) % 8] : (TCK_API_INSTANCE)rand_r(&seed) * rand_r(&seed);
        unsigned size = rand_r(&seed) % 4 ? (unsigned)rand_r(&seed) % sizeof text : 0;
        char *buffer = rand_r(&seed) % 4 ? text : NULL;
        unsigned *length = rand_r(&seed) % 2 ? &used : NULL;
        TCK_API_INSTANCE *slot = &live[rand_r(&seed) % 8];
        switch (which) {
        case 0: TcktApi_Finalize(*slot); *slot = TcktApi_Initialize(); CHECK(*slot > 0); break;
        case 1: TcktApi_GetGAVersion(handle, rand_r(&seed) % 5 - 1); break;
        case 2: TcktApi_getTicketNoAuth(handle, buffer, size, length); break;
        case 3: TcktApi_getErrorDescription(handle, (unsigned)rand_r(&seed), buffer, size, length); break;
        case 4: TcktApi_getErrorDescription(0, TCK_ERR_GRP_CONFIG + (unsigned)rand_r(&seed) % 9, buffer, size, length); break;
        case 5: TcktApi_getLastError(handle); break;
        case 6: TcktApi_destroyTicket(handle); break;
        case 7: TcktApi_isTerminalServiceSession(handle); break;
        case 8: ticketapi_role(handle, (unsigned)rand_r(&seed), rand_r(&seed) % 9, buffer, size, length); break;
        case 9: ticketapi_chosen_role(handle, length); break;
        case 10: TcktApi_Finalize(handle); break;
        default: ticketapi_user_name(handle, buffer, size, length); break;
        }
    }
}

#ifndef _WIN32
static void a_million_pairs_leak_no_memory(const void *row)
{
    /* Checkers do not look for growth, and need fewer rounds. */
    int i, table = 1 << 16, count = scaled(getenv("TEST_INSTRUMENTED") ? table : 1 << 20);
    long before;
    (void)row;
    /* After these rounds every page of the handle table has been used. */
    for (i = 0; i < (getenv("TEST_INSTRUMENTED") ? count : table); i++)
        TcktApi_Finalize(TcktApi_Initialize());
    before = own_kib();
    for (i = 0; i < count; i++) {
        TCK_API_INSTANCE instance = TcktApi_Initialize();
        CHECK(instance > 0);
        TcktApi_Finalize(instance);
    }
    if (!getenv("TEST_INSTRUMENTED"))
        CHECK(own_kib() <= before + 64);
}
#endif

static void a_full_table_is_an_error(const void *row)
{
    static TCK_API_INSTANCE live[1 << 16];
    int i;
    (void)row;
    for (i = 0; i < 1 << 16; i++)
        CHECK((live[i] = TcktApi_Initialize()) > 0);
    CHECK_EQ(TcktApi_Initialize(), 0);
    CHECK_EQ(TcktApi_getLastError(0), TCK_API_ERR_RESOURCE_ALLOCATION_FAILED);
    TcktApi_Finalize(live[4711]);
    CHECK(TcktApi_Initialize() > 0);
}

static void remote_sessions(const void *row)
{
    static const char *const names[] = {"SSH_CONNECTION", "XRDP_SESSION", "CITRIX_SESSION_ID"};
    TCK_API_INSTANCE instance = TcktApi_Initialize();
    size_t i;
    (void)row;
    CHECK_EQ(TcktApi_isTerminalServiceSession(instance), 0);
#ifdef _WIN32
    /* The system itself knows, and these are for others. */
    const int remote = 0;
#else
    const int remote = 1;
#endif
    for (i = 0; i < 3; i++) {
        setenv(names[i], "1", 1);
        CHECK_EQ(TcktApi_isTerminalServiceSession(instance), remote);
        unsetenv(names[i]);
    }
}

const Test misuse_tests[] = {
    {"calls before Initialize", calls_before_initialize, NULL},
    {"NULL and size 0 are refused before any prompt", null_and_zero_are_refused_before_any_prompt, NULL},
    {"buffers of every size", buffers_of_every_size, NULL},
    {"a second call with a larger buffer does not log in again", a_second_call_with_a_larger_buffer_does_not_log_in_again, NULL},
    {"stale, forged and doubly finalized handles", wrong_handles, NULL},
    {"random calls do no harm", random_calls_do_no_harm, NULL},
#ifndef _WIN32
    {"2^20 pairs of Initialize and Finalize leak no memory", a_million_pairs_leak_no_memory, NULL},
#endif
    {"a full table of handles is an error, and recovers", a_full_table_is_an_error, NULL},
    {"remote sessions are detected", remote_sessions, NULL},
    {NULL, NULL, NULL},
};

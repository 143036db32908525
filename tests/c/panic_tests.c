/* With a library that panics on request: every export returns an error, and the next call works. */
#include <string.h>

#include "harness.h"
#include "prompts.h"

void ticketapi_test_panic(unsigned place);

enum { ENTRY = 1, BODY, RETURN };

static TCK_API_INSTANCE instance;
static char text[1024];
static unsigned number;

static unsigned call(int which)
{
    switch (which) {
    case 0: return (unsigned)TcktApi_getTicket(instance, text, sizeof text, &number);
    case 1: return (unsigned)TcktApi_getTicketNoAuth(instance, text, sizeof text, &number);
    case 2: return (unsigned)TcktApi_getNewTicket(instance, text, sizeof text, &number);
    case 3: return (unsigned)TcktApi_getErrorDescription(instance, 0, text, sizeof text, &number);
    case 4: return (unsigned)ticketapi_user_name(instance, text, sizeof text, &number);
    case 5: return (unsigned)ticketapi_user_uid(instance, text, sizeof text, &number);
    case 6: return (unsigned)ticketapi_role_count(instance, &number);
    case 7: return (unsigned)ticketapi_role(instance, 0, TICKETAPI_ROLE_ID, text, sizeof text, &number);
    case 8: return (unsigned)ticketapi_chosen_role(instance, &number);
    case 9: return (unsigned)ticketapi_cancel(instance);
    case 10: return (unsigned)_TcktApi_getTicket(instance, text, sizeof text, &number);
    /* These do not return a code. */
    case 11: return TcktApi_GetGAVersion(instance, GATICKET_VERSION_ENGINE) ? 0 : TcktApi_getLastError(instance);
    case 12: return TcktApi_isTerminalServiceSession(instance) == 0 ? TcktApi_getLastError(instance) : 1;
    case 13: TcktApi_Finalize(instance); return TcktApi_getLastError(instance);
    case 14: return TcktApi_getLastError(instance);
    case 15: return TcktApi_Initialize() ? 0 : TcktApi_getLastError(0);
    case 16: return (unsigned)TcktApi_destroyTicket(instance);
    }
    return 0;
}

enum { CALLS = 17 };

static void every_export_panics(const void *row)
{
    User user;
    int which, place;
    (void)row;
    at_a_desk(&user);
    instance = TcktApi_Initialize();
    log_in(instance, text);
    for (which = 0; which < CALLS; which++) {
        for (place = ENTRY; place <= RETURN; place++) {
            ticketapi_test_panic((unsigned)place);
            CHECK_EQ(call(which), TCK_API_ERR_INTERNAL_ERROR);
            if (which == 13 && place == RETURN)
                instance = TcktApi_Initialize();
            /* The next call works. */
            CHECK_EQ(TcktApi_getTicket(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
            if (which != 13)
                CHECK_EQ(call(which), TCK_API_SUCCESS);
        }
    }
    ticketapi_test_panic(ENTRY);
    CHECK_EQ(GetDllVersion(), 0);
    CHECK(GetDllVersion() != 0);
    ticketapi_test_panic(ENTRY);
    CHECK_EQ(ticketapi_set_prompter(NULL, NULL), TCK_API_ERR_INTERNAL_ERROR);
    CHECK_EQ(ticketapi_set_prompter(NULL, NULL), TCK_API_SUCCESS);
    ticketapi_test_panic(RETURN);
    CHECK_EQ(ticketapi_set("role", "1"), TCK_API_ERR_INTERNAL_ERROR);
}

static void panic_in_the_login(void)
{
    /* The next export is called by the prompt; the login continues after it. */
    ticketapi_test_panic(BODY);
    CHECK_EQ(ticketapi_cancel(instance), TCK_API_ERR_INTERNAL_ERROR);
}

static void a_prompt_panics(const void *row)
{
    User user;
    (void)row;
    at_a_desk(&user);
    user.while_asked = panic_in_the_login;
    instance = TcktApi_Initialize();
    log_in(instance, text);
}

const Test panic_tests[] = {
    {"every export panics at entry, in its body and on return", every_export_panics, NULL},
    {"an export panics within a login", a_prompt_panics, NULL},
    {NULL, NULL, NULL},
};

int main(int argc, char **argv)
{
    const Test *lists[] = {panic_tests, NULL};
    return run_tests(lists, argc, argv);
}

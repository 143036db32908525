/* A session at an OpenID provider: large tickets, changes of role and context, claims. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "prompts.h"

#define LARGE 8192

/* Logs in at a provider that is started with these arguments. */
static TCK_API_INSTANCE at_a_provider(User *user, const char *const *arguments, char ticket[LARGE])
{
    static const User typical = {.pin = NULL, .role = 1};
    TCK_API_INSTANCE instance;
    *user = typical;
    start_provider(arguments);
    answer_with(user);
    instance = TcktApi_Initialize();
    CHECK(instance != 0);
    CHECK_EQ(TcktApi_getTicket(instance, ticket, LARGE, NULL), TCK_API_SUCCESS);
    return instance;
}

static void a_ticket_that_is_too_large_for_old_clients(const void *row)
{
    static const char *const large[] = {"--service", "cis2", "--token-padding", "1500", NULL};
    static const User typical = {.pin = NULL, .role = 0};
    User user = typical;
    TCK_API_INSTANCE instance;
    char small[254], old[1024], ticket[LARGE], again[LARGE], words[254], expected[254];
    unsigned size = 0, used = 0;
    (void)row;
    start_provider(large);
    answer_with(&user);
    instance = TcktApi_Initialize();
    memset(old, 'x', sizeof old);
    CHECK_EQ(TcktApi_getTicket(instance, small, sizeof small, NULL), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getTicket(instance, old, sizeof old, NULL), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getErrorDescription(instance, TCK_API_ERR_BUFFER_TOO_SMALL, words, sizeof words, NULL), TCK_API_SUCCESS);
    CHECK(old[0] == 'x' && old[sizeof old - 1] == 'x');
    CHECK_EQ(ticketapi_ticket_size(instance, &size), TCK_API_SUCCESS);
    CHECK(size > 1500 && size < LARGE);
    snprintf(expected, sizeof expected, "The buffer is too small: the ticket has %u,%03u bytes and needs a buffer of %u,%03u",
             (size - 1) / 1000, (size - 1) % 1000, size / 1000, size % 1000);
    CHECK_TEXT(words, expected);
    CHECK_EQ(TcktApi_getTicket(instance, ticket, size, &used), TCK_API_SUCCESS);
    CHECK_EQ(used, size - 1);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(again, ticket);
    CHECK_EQ(spine_requests("/authorize"), 1);
    /* A new login is not repeated either for a larger buffer. */
    CHECK_EQ(TcktApi_getNewTicket(instance, old, sizeof old, NULL), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getNewTicket(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK(strcmp(again, ticket) != 0);
    CHECK_EQ(spine_requests("/authorize"), 2);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_ticket_size(instance, &size), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    TcktApi_Finalize(instance);
}

static void a_user_changes_the_role(const void *row)
{
    static const char *const cis2[] = {"--service", "cis2", NULL};
    User user;
    char ticket[LARGE], again[LARGE];
    unsigned chosen = 9;
    TCK_API_INSTANCE instance;
    (void)row;
    instance = at_a_provider(&user, cis2, ticket);
    CHECK_EQ(ticketapi_chosen_role(instance, &chosen), TCK_API_SUCCESS);
    CHECK_EQ(chosen, 1);
    user.role = 2;
    CHECK_EQ(ticketapi_change_role(instance), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_chosen_role(instance, &chosen), TCK_API_SUCCESS);
    CHECK_EQ(chosen, 2);
    CHECK_EQ(user.roles, 2);
    /* A user who gives up keeps the role and the ticket. */
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL), TCK_API_SUCCESS);
    user.role = -1;
    CHECK_EQ(ticketapi_change_role(instance), TCK_API_ERR_USER_ABORT);
    CHECK_EQ(ticketapi_chosen_role(instance, &chosen), TCK_API_SUCCESS);
    CHECK_EQ(chosen, 2);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(again, ticket);
    CHECK_EQ(spine_requests("/authorize"), 1);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
}

static void the_provider_says_who_the_user_is(const void *row)
{
    static const char *const cis2[] = {"--service", "cis2", NULL};
    User user;
    char ticket[LARGE], claims[LARGE], words[254];
    unsigned used = 0;
    TCK_API_INSTANCE instance;
    (void)row;
    instance = at_a_provider(&user, cis2, ticket);
    CHECK_EQ(ticketapi_claims(instance, claims, sizeof claims, &used), TCK_API_SUCCESS);
    CHECK(claims[0] == '{' && used == strlen(claims));
    CHECK(strstr(claims, "\"nhsid_useruid\":\"555021935107\"") != NULL);
    CHECK_EQ(ticketapi_claims(instance, claims, 8, NULL), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getErrorDescription(instance, TCK_API_ERR_BUFFER_TOO_SMALL, words, sizeof words, NULL), TCK_API_SUCCESS);
    CHECK(strstr(words, "the text has ") != NULL);
    CHECK_EQ(ticketapi_claims(instance, NULL, 8, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_contexts(instance, claims, sizeof claims, NULL), TCK_API_ERR_NOT_IMPLEMENTED);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_claims(instance, claims, sizeof claims, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    TcktApi_Finalize(instance);
}

static void a_context_is_switched_to(const void *row)
{
    static const char *const ehealth_dk[] = {"--service", "ehealth_dk", NULL};
    static const TicketApiContext none;
    TicketApiContext context = none;
    User user;
    char ticket[LARGE], again[LARGE], contexts[LARGE], team[256];
    const char *found;
    int asked;
    TCK_API_INSTANCE instance;
    (void)row;
    instance = at_a_provider(&user, ehealth_dk, ticket);
    CHECK_EQ(ticketapi_contexts(instance, contexts, sizeof contexts, NULL), TCK_API_SUCCESS);
    CHECK(strstr(contexts, "\"organizations\":[") != NULL && strstr(contexts, "\"name\":\"Team 1\"") != NULL);
    found = strstr(contexts, "CareTeam/1\"");
    CHECK(found != NULL);
    while (found[-1] != '"')
        found--;
    snprintf(team, sizeof team, "%.*s", (int)strcspn(found, "\""), found);

    /* What cannot be right is not sent. */
    asked = spine_requests("/token");
    CHECK_EQ(ticketapi_switch_context(instance, NULL), TCK_API_ERR_INVALID_PARAMETER);
    context.patient_id = "https://patient.test.example/fhir/Patient/7";
    CHECK_EQ(ticketapi_switch_context(instance, &context), TCK_API_ERR_INVALID_PARAMETER);
    context.care_team_id = "";
    CHECK_EQ(ticketapi_switch_context(instance, &context), TCK_API_ERR_INVALID_PARAMETER);
    context.care_team_id = "\xff";
    CHECK_EQ(ticketapi_switch_context(instance, &context), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(spine_requests("/token"), asked);

    context.care_team_id = team;
    CHECK_EQ(ticketapi_switch_context(instance, &context), TCK_API_SUCCESS);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK(strcmp(again, ticket) != 0);
    /* A team of others is refused, and leaves everything as it was. */
    context.care_team_id = "https://organization.test.example/fhir/CareTeam/99";
    CHECK_EQ(ticketapi_switch_context(instance, &context), TCK_API_ERR_AUTHENTICATION_FAILED);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(ticket, again);
    CHECK_EQ(spine_requests("/openid-connect/auth "), 1);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
}

static void what_the_broker_does_not_have(const void *row)
{
    static const TicketApiContext none;
    User user;
    char ticket[1024], text[64];
    TCK_API_INSTANCE instance;
    (void)row;
    at_a_desk(&user);
    instance = TcktApi_Initialize();
    CHECK_EQ(ticketapi_change_role(instance), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_claims(instance, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    log_in(instance, ticket);
    CHECK_EQ(ticketapi_change_role(instance), TCK_API_ERR_NOT_IMPLEMENTED);
    CHECK_EQ(ticketapi_switch_context(instance, &none), TCK_API_ERR_NOT_IMPLEMENTED);
    CHECK_EQ(ticketapi_contexts(instance, text, sizeof text, NULL), TCK_API_ERR_NOT_IMPLEMENTED);
    CHECK_EQ(ticketapi_claims(instance, text, sizeof text, NULL), TCK_API_ERR_NOT_IMPLEMENTED);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 1);
    TcktApi_Finalize(instance);
    CHECK_EQ(ticketapi_change_role(instance), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
}

static pid_t window;

/* The window of a program is another process here. */
static int open_window(void *user_data, const char *address)
{
    window = fork();
    if (window == 0) {
        execlp(user_data, user_data, address, (char *)NULL);
        _exit(127);
    }
    return window > 0 ? TICKETAPI_ANSWERED : TICKETAPI_CANCELLED;
}

static void a_program_shows_the_page(const void *row)
{
    static const char *const cis2[] = {"--service", "cis2", NULL};
    static const User typical = {.pin = NULL, .role = 1};
    User user = typical;
    char ticket[LARGE], browser[512];
    TCK_API_INSTANCE instance;
    (void)row;
    start_provider(cis2);
    snprintf(browser, sizeof browser, "%s", getenv("TICKETAPI_BROWSER"));
    setenv("TICKETAPI_BROWSER", "/nowhere/browser", 1);
    answer_with(&user);
    CHECK_EQ(ticketapi_set_browser(open_window, browser), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_SUCCESS);
    CHECK_EQ(status_of(window), 0);
    CHECK_EQ(user.waits, 101);
    CHECK_EQ(user.roles, 1);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
}

const Test openid_tests[] = {
    {"a program shows the page of an OpenID provider itself", a_program_shows_the_page, NULL},
    {"a ticket that is too large for old clients is described by its size", a_ticket_that_is_too_large_for_old_clients, NULL},
    {"a user changes the role, or keeps it", a_user_changes_the_role, NULL},
    {"the provider says who the user is", the_provider_says_who_the_user_is, NULL},
    {"a context is switched to, or kept", a_context_is_switched_to, NULL},
    {"the SSB has neither changes of role nor contexts nor claims", what_the_broker_does_not_have, NULL},
    {NULL, NULL, NULL},
};

/* A session: its user, how it begins, and how it ends. */
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "prompts.h"

static void a_session_has_its_user_and_roles(const void *row)
{
    User user;
    TCK_API_INSTANCE instance;
    char text[1024];
    unsigned number = 99, i;
    (void)row;
    at_a_desk(&user);
    instance = TcktApi_Initialize();
    CHECK_EQ(ticketapi_user_name(instance, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_role_count(instance, &number), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_ticket_size(instance, &number), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(number, 99);
    log_in(instance, text);
    CHECK_EQ(ticketapi_user_name(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(text, "TEST USER");
    CHECK_EQ(ticketapi_user_uid(instance, text, sizeof text, &number), TCK_API_SUCCESS);
    CHECK_TEXT(text, "555021935107");
    CHECK_EQ(number, 12);
    CHECK_EQ(ticketapi_role_count(instance, &number), TCK_API_SUCCESS);
    CHECK_EQ(number, 3);
    CHECK_EQ(ticketapi_chosen_role(instance, &number), TCK_API_SUCCESS);
    CHECK_EQ(number, 1);
    for (i = 0; i < 3; i++) {
        int field;
        for (field = TICKETAPI_ROLE_LINE; field <= TICKETAPI_ROLE_NAME; field++) {
            CHECK_EQ(ticketapi_role(instance, i, field, text, sizeof text, NULL), TCK_API_SUCCESS);
            CHECK(text[0] || field == TICKETAPI_ROLE_ORGANISATION_CODE);
        }
    }
    CHECK_EQ(ticketapi_role(instance, 0, 7, text, sizeof text, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_role(instance, 3, 0, text, sizeof text, NULL), TCK_API_ERR_RESOURCE_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_role_count(instance, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_chosen_role(instance, NULL), TCK_API_ERR_INVALID_PARAMETER);
}

static void prompts_are_called_on_the_callers_thread(const void *row)
{
    User user;
    char ticket[1024];
    (void)row;
    at_a_desk(&user);
    log_in(TcktApi_Initialize(), ticket);
    CHECK_EQ(user.pins, 1);
    CHECK_EQ(user.roles, 1);
    CHECK(pthread_equal(user.asked_on, pthread_self()));
    CHECK_EQ(user.seen.problem, TICKETAPI_PIN_FIRST);
    CHECK(user.seen.shortest >= 1 && user.seen.longest >= user.seen.shortest);
}

static void the_user_is_asked_again_after_a_wrong_pin(const void *row)
{
    User user;
    char ticket[1024];
    (void)row;
    at_a_desk(&user);
    user.pin = "9999";
    user.then = "1234";
    log_in(TcktApi_Initialize(), ticket);
    CHECK_EQ(user.pins, 2);
    CHECK_EQ(user.seen.problem, TICKETAPI_PIN_WRONG);
}

static void destroying_ends_the_session_for_every_handle(const void *row)
{
    User user;
    TCK_API_INSTANCE one, other;
    char ticket[1024], again[1024];
    (void)row;
    at_a_desk(&user);
    one = TcktApi_Initialize();
    other = TcktApi_Initialize();
    CHECK_EQ(TcktApi_destroyTicket(one), TCK_API_SUCCESS);
    log_in(one, ticket);
    CHECK_EQ(TcktApi_getTicketNoAuth(other, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(again, ticket);
    CHECK_EQ(TcktApi_destroyTicket(other), TCK_API_SUCCESS);
    CHECK_EQ(spine_requests("/login/authlogout"), 1);
    CHECK_EQ(TcktApi_getTicketNoAuth(one, again, sizeof again, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_destroyTicket(one), TCK_API_SUCCESS);
    log_in(one, again);
    CHECK_EQ(user.pins, 2);
    CHECK(strcmp(again, ticket) != 0);
}

static void the_session_outlives_its_handles(const void *row)
{
    User user;
    TCK_API_INSTANCE instance;
    char ticket[1024], again[1024];
    int threads;
    (void)row;
    at_a_desk(&user);
    threads = count_threads();
    instance = TcktApi_Initialize();
    log_in(instance, ticket);
    CHECK(count_threads() > threads);
    TcktApi_Finalize(instance);
    CHECK(threads_become(threads));
    instance = TcktApi_Initialize();
    CHECK(count_threads() > threads);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(again, ticket);
    CHECK_EQ(spine_requests("/login/authlogout"), 0);
}

static void ticketapi_set_takes_effect_with_the_next_handle(const void *row)
{
    User user;
    TCK_API_INSTANCE instance;
    char text[1024];
    (void)row;
    at_a_desk(&user);
    instance = TcktApi_Initialize();
    log_in(instance, text);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_role(instance, 2, TICKETAPI_ROLE_ID, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    log_in(instance, text);
    CHECK_EQ(ticketapi_role(instance, 2, TICKETAPI_ROLE_ID, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
    CHECK_EQ(ticketapi_set("role", text), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    user.roles = 0;
    log_in(instance, text);
    CHECK_EQ(user.roles, 0);
}

static void a_token_in_the_helper_logs_in(const void *row)
{
    User user = {.pin = "1234", .role = 0};
    TCK_API_INSTANCE instance;
    char ticket[1024];
    (void)row;
    start_spine(NULL);
    use_card("good");
    answer_with(&user);
    instance = TcktApi_Initialize();
    log_in(instance, ticket);
    CHECK_EQ(user.pins, 1);
    CHECK_EQ(count_children(), 1); /* the simulator */
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
}

/* Without TLS memcheck examines everything that is sent; it considers TLS's authentication tags undefined. */
static void a_login_without_tls(const void *row)
{
    static const char *const plain[] = {"--http", NULL};
    User user = {.pin = "1234", .role = 1};
    TCK_API_INSTANCE instance;
    char ticket[1024];
    (void)row;
    start_spine(plain);
    use_card("good.p12");
    answer_with(&user);
    instance = TcktApi_Initialize();
    log_in(instance, ticket);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    CHECK_EQ(spine_requests("/login/authlogout"), 1);
}

static void *has_no_error(void *instance)
{
    CHECK_EQ(TcktApi_getLastError(*(TCK_API_INSTANCE *)instance), TCK_API_SUCCESS);
    CHECK_EQ(TcktApi_destroyTicket(*(TCK_API_INSTANCE *)instance), TCK_API_SUCCESS);
    return NULL;
}

static void each_thread_and_handle_has_its_own_last_error(const void *row)
{
    TCK_API_INSTANCE one = TcktApi_Initialize(), other = TcktApi_Initialize();
    char text[254];
    pthread_t thread;
    (void)row;
    CHECK_EQ(TcktApi_getTicketNoAuth(one, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_getTicketNoAuth(other, NULL, 0, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getLastError(one), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_getLastError(other), TCK_API_ERR_INVALID_PARAMETER);
    CHECK(pthread_create(&thread, NULL, has_no_error, &one) == 0 && pthread_join(thread, NULL) == 0);
    CHECK_EQ(TcktApi_getLastError(one), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_destroyTicket(one), TCK_API_SUCCESS);
    CHECK_EQ(TcktApi_getLastError(one), TCK_API_SUCCESS);
    CHECK_EQ(TcktApi_getLastError(other), TCK_API_ERR_INVALID_PARAMETER);
}

static void descriptions_and_versions_do_not_change_the_last_error(const void *row)
{
    TCK_API_INSTANCE instance = TcktApi_Initialize();
    char text[254], again[254];
    (void)row;
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, text, sizeof text, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_getErrorDescription(instance, TCK_API_ERR_TICKET_NOT_AVAILABLE, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK(strstr(text, "nobody is logged in") != NULL);
    CHECK_EQ(TcktApi_getLastError(instance), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK(TcktApi_GetGAVersion(instance, GATICKET_VERSION_API) && TcktApi_GetGAVersion(instance, GATICKET_VERSION_ENGINE));
    CHECK(GetDllVersion() != 0);
    CHECK_EQ(TcktApi_getLastError(instance), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_getErrorDescription(instance, TcktApi_getLastError(instance), again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(again, text);
    /* If they fail, that is the last error. */
    CHECK_EQ(TcktApi_getErrorDescription(instance, 1, text, sizeof text, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getLastError(instance), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    CHECK_EQ(TcktApi_GetGAVersion(instance, 3), 0);
    CHECK_EQ(TcktApi_getLastError(instance), TCK_API_ERR_INVALID_PARAMETER);
    TcktApi_Finalize(instance);

    /* Also without a handle. */
    CHECK_EQ(ticketapi_set("no_such_key", "1"), TCK_API_ERR_LOAD_RES_FAILED);
    CHECK_EQ(TcktApi_getErrorDescription(0, TCK_API_ERR_LOAD_RES_FAILED, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK(TcktApi_GetGAVersion(0, GATICKET_VERSION_API) != 0);
    CHECK_EQ(TcktApi_getLastError(0), TCK_API_ERR_LOAD_RES_FAILED);
}

#ifndef _WIN32
static void the_session_is_checked_before_a_ticket_is_returned(const void *row)
{
    User user;
    TCK_API_INSTANCE instance;
    char ticket[1024], again[1024];
    (void)row;
    at_a_desk(&user);
    CHECK_EQ(ticketapi_set("check_session", "1"), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    log_in(instance, ticket);
    CHECK_EQ(TcktApi_getTicket(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_EQ(spine_requests("/saml/RoleAssertion"), 0);
    sleep_the_computer(61);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_EQ(spine_requests("/saml/RoleAssertion"), 0);
    CHECK_EQ(TcktApi_getTicket(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(again, ticket);
    CHECK_EQ(spine_requests("/saml/RoleAssertion"), 1);
    CHECK_EQ(TcktApi_getTicket(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_EQ(spine_requests("/saml/RoleAssertion"), 1);
    CHECK_EQ(user.pins, 1);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
}

/* With `reauthentication` and `lock_timeout` of one minute each. */
static TCK_API_INSTANCE at_a_desk_that_locks(User *user, const char *const *server, char ticket[1024])
{
    TCK_API_INSTANCE instance;
    at_a_desk(user);
    if (server)
        start_spine(server);
    CHECK_EQ(ticketapi_set("mode", "mobility"), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_set("reauthentication", "1"), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_set("lock_timeout", "1"), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    log_in(instance, ticket);
    return instance;
}

static void a_locked_session_is_unlocked_by_its_user(const void *row)
{
    User user;
    char ticket[1024], again[1024];
    unsigned number = 7;
    TCK_API_INSTANCE instance;
    (void)row;
    instance = at_a_desk_that_locks(&user, NULL, ticket);
    sleep_the_computer(55);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    sleep_the_computer(10);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_user_uid(instance, again, sizeof again, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_role_count(instance, &number), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(number, 7);
    CHECK_EQ(user.pins, 1);
    /* If the user gives up, it stays locked. */
    user.pin = NULL;
    CHECK_EQ(TcktApi_getTicket(instance, again, sizeof again, NULL), TCK_API_ERR_USER_ABORT);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    user.pin = "1234";
    CHECK_EQ(TcktApi_getTicket(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(again, ticket);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 3);
    CHECK_EQ(user.roles, 1);
    CHECK_EQ(spine_requests("/login/authvalidate"), 1);
    /* It ends when it was locked for too long. */
    sleep_the_computer(125);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    log_in(instance, again);
    CHECK(strcmp(again, ticket) != 0);
    CHECK_EQ(spine_requests("/login/authvalidate"), 2);
}

/* The server does not respond to the logout. */
static void the_last_finalize_waits_a_moment(const void *row)
{
    static const char *const silent[] = {"--misbehave", "logout=no-answer", NULL};
    User user;
    char ticket[1024];
    int threads = count_threads();
    long long began;
    TCK_API_INSTANCE instance;
    (void)row;
    instance = at_a_desk_that_locks(&user, silent, ticket);
    sleep_the_computer(125);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    while (spine_requests("/login/authlogout") == 0)
        sleep_ms(1);
    began = now_ns();
    TcktApi_Finalize(instance);
    began = now_ns() - began;
    CHECK(began > 400000000LL);
    if (!getenv("TEST_INSTRUMENTED"))
        CHECK(began < 2750000000LL);
    CHECK(threads_become(threads));
}

static void memory_after_a_login(const void *row)
{
    User user;
    char ticket[1024];
    (void)row;
    at_a_desk(&user);
    log_in(TcktApi_Initialize(), ticket);
    if (!getenv("TEST_INSTRUMENTED"))
        CHECK(resident_kib() <= 16 * 1024);
}

#endif

static void the_message_without_reader_or_service(const void *row)
{
    User user = {.pin = NULL};
    char text[1024];
    TCK_API_INSTANCE instance;
    (void)row;
    start_spine(NULL);
    use_card("no-reader");
    setenv("TICKETAPI_CARD_WAIT", "1", 1);
    setenv("PCSCLITE_CSOCK_NAME", "/nowhere", 1);
    answer_with(&user);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, text, sizeof text, NULL), TCK_API_ERR_READER_NOT_AVAILABLE);
    CHECK_TEXT(user.told, "The card reader service of this computer does not answer");
    CHECK_EQ(user.messages, 1);
    TcktApi_Finalize(instance);
}

const Test session_tests[] = {
    {"the message while there is no reader or service", the_message_without_reader_or_service, NULL},
    {"a session has its user and roles", a_session_has_its_user_and_roles, NULL},
    {"prompts are called on the caller's thread", prompts_are_called_on_the_callers_thread, NULL},
    {"the user is asked again after a wrong PIN", the_user_is_asked_again_after_a_wrong_pin, NULL},
    {"destroying ends the session for every handle", destroying_ends_the_session_for_every_handle, NULL},
    {"the session outlives its handles", the_session_outlives_its_handles, NULL},
    {"ticketapi_set takes effect with the next handle", ticketapi_set_takes_effect_with_the_next_handle, NULL},
    {"a token in the helper logs in", a_token_in_the_helper_logs_in, NULL},
    {"a login without TLS, on this computer", a_login_without_tls, NULL},
    {"each thread and handle has its own last error", each_thread_and_handle_has_its_own_last_error, NULL},
    {"descriptions and versions do not change the last error", descriptions_and_versions_do_not_change_the_last_error, NULL},
#ifndef _WIN32
    {"the session is checked before a ticket is returned, if the settings say so", the_session_is_checked_before_a_ticket_is_returned, NULL},
    {"a locked session is unlocked by its user", a_locked_session_is_unlocked_by_its_user, NULL},
    {"the last Finalize waits a moment for the logout", the_last_finalize_waits_a_moment, NULL},
    {"at most 16 MiB are resident after a login", memory_after_a_login, NULL},
#endif
    {NULL, NULL, NULL},
};

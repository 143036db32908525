/* Every code of the specification's table, with a real cause. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "prompts.h"

typedef struct {
    const char *cause;
    unsigned code;
    unsigned group;
    const char *card;      /* good.p12 where it is NULL */
    const char *server[3]; /* arguments of the simulator */
    const char *key, *value; /* one setting, by call */
    const char *pin;       /* "" cancels; 1234 where it is NULL */
    int cancels_role;
    int no_prompter;
} Cause;

#define GENERIC TCK_ERR_GRP_GENERIC
#define CARD TCK_ERR_GRP_CARD_DEVICE
#define AUTH TCK_ERR_GRP_AUTHENTICATION
#define CONFIG TCK_ERR_GRP_CONFIG

static const Cause causes[] = {
    {.cause = "the configured module is missing", .code = TCK_API_ERR_NOT_INSTALLED, .group = CONFIG, .card = "good",
     .key = "pkcs11_module", .value = NOWHERE "module.so"},
    {.cause = "the helper is missing", .code = TCK_API_ERR_NOT_INSTALLED, .group = CONFIG, .card = "good",
     .key = "helper", .value = NOWHERE "ticketapi-card"},
    {.cause = "there is no reader", .code = TCK_API_ERR_READER_NOT_AVAILABLE, .group = CARD, .card = "no-reader"},
    {.cause = "no card was inserted in time", .code = TCK_API_ERR_AUTHENTICATION_NOT_POSSIBLE, .group = AUTH, .card = "good",
     .key = "token_label", .value = "ANOTHER"},
    {.cause = "the module does not know the card", .code = TCK_API_ERR_SMARTCARD_NOT_SUPPORTED, .group = CARD,
     .card = "unknown"},
    {.cause = "the card has no certificate", .code = TCK_API_ERR_NO_CERT_FOUND, .group = CARD, .card = "no-certificate"},
    {.cause = "the card has no key", .code = TCK_API_ERR_NO_KEY_FOUND, .group = CARD, .card = "no-key"},
    {.cause = "the certificate has expired", .code = TCK_API_ERR_SMARTCARD_NOT_VALID, .group = CARD, .card = "expired"},
    {.cause = "the PIN is locked", .code = TCK_API_ERR_PIN_BLOCKED, .group = CARD, .card = "locked"},
    {.cause = "this attempt locks the PIN", .code = TCK_API_ERR_PIN_BLOCKED, .group = CARD, .card = "locks",
     .pin = "9999"},
    {.cause = "the user cancels the PIN prompt", .code = TCK_API_ERR_USER_ABORT, .group = AUTH, .pin = ""},
    {.cause = "the user cancels the role prompt", .code = TCK_API_ERR_USER_ABORT, .group = AUTH, .cancels_role = 1},
    {.cause = "nobody can be asked", .code = TCK_API_ERR_AUTHMETHOD_NOT_POSSIBLE, .group = CONFIG, .key = "pinentry",
     .value = NOWHERE "pinentry", .no_prompter = 1},
    {.cause = "the user gives up after a wrong PIN", .code = TCK_API_ERR_AUTHENTICATION_FAILED, .group = AUTH,
     .pin = "9999"},
    {.cause = "the server refuses", .code = TCK_API_ERR_AUTHENTICATION_FAILED, .group = AUTH,
     .server = {"--misbehave", "validate=refusal:no"}},
    {.cause = "the user has no role", .code = TCK_API_ERR_USER_NOT_VALID, .group = AUTH, .server = {"--roles", "0"}},
    {.cause = "the card's software crashes", .code = TCK_API_ERR_CARD_TRANSACTION_FAILED, .group = CARD,
     .card = "crashes"},
    {.cause = "the card is removed", .code = TCK_API_ERR_CARD_TRANSACTION_FAILED, .group = CARD, .card = "removed"},
    {.cause = "the name cannot be resolved", .code = TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE, .group = AUTH,
     .key = "base_url", .value = "https://nowhere.invalid"},
    {.cause = "the connection is refused", .code = TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE, .group = AUTH,
     .key = "base_url", .value = "https://127.0.0.1:1"},
    {.cause = "the server does not answer in time", .code = TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE, .group = AUTH,
     .server = {"--misbehave", "activate=no-answer"}, .key = "request_timeout", .value = "1"},
    {.cause = "the server answers HTTP 500", .code = TCK_API_ERR_AUTHSERVER_NOT_AVAILABLE, .group = AUTH,
     .server = {"--misbehave", "validate=status:500"}},
    {.cause = "TLS: unknown issuer", .code = TCK_API_ERR_SERVER_COMM_FAILED, .group = GENERIC,
     .server = {"--certificate", "other-ca"}},
    {.cause = "TLS: wrong name", .code = TCK_API_ERR_SERVER_COMM_FAILED, .group = GENERIC,
     .server = {"--certificate", "name:elsewhere.example"}},
    {.cause = "TLS: expired certificate", .code = TCK_API_ERR_SERVER_COMM_FAILED, .group = GENERIC,
     .server = {"--certificate", "expired"}},
    {.cause = "the answer is not XML", .code = TCK_API_ERR_AUTHDATA_SYNTAX_ERROR, .group = AUTH,
     .server = {"--misbehave", "activate=html"}},
    {.cause = "there is no challenge", .code = TCK_API_ERR_AUTHDATA_SYNTAX_ERROR, .group = AUTH,
     .server = {"--misbehave", "activate=no-challenge"}},
    {.cause = "there is no ticket", .code = TCK_API_ERR_AUTHDATA_SYNTAX_ERROR, .group = AUTH,
     .server = {"--misbehave", "validate=no-ticket"}},
    {.cause = "the answer is too large", .code = TCK_API_ERR_AUTHDATA_SYNTAX_ERROR, .group = AUTH,
     .server = {"--misbehave", "activate=endless"}},
};

#define CAUSES (sizeof causes / sizeof *causes)

static void a_login_fails(const void *row)
{
    const Cause *cause = row;
    User user = {.pin = "1234", .role = 1};
    TCK_API_INSTANCE instance;
    char ticket[1024];
    char words[254], whole[1024];
    unsigned used = 0xdead, i;
    int code;

    start_spine(cause->server);
    use_card(cause->card ? cause->card : "good.p12");
    if (cause->key)
        CHECK_EQ(ticketapi_set(cause->key, cause->value), TCK_API_SUCCESS);
    if (cause->pin)
        user.pin = cause->pin[0] ? cause->pin : NULL;
    if (cause->cancels_role)
        user.role = -1;
    if (!cause->no_prompter)
        answer_with(&user);

    instance = TcktApi_Initialize();
    CHECK(instance > 0);
    memset(ticket, 'x', sizeof ticket);
    code = TcktApi_getTicket(instance, ticket, sizeof ticket, &used);
    if ((unsigned)code != cause->code) {
        TcktApi_getErrorDescription(instance, (unsigned)code, words, sizeof words, NULL);
        printf("%s\n", words);
    }
    CHECK_EQ(code, cause->code);
    CHECK_EQ(TcktApi_getLastError(instance), cause->code);
    CHECK_EQ(used, 0xdead);
    for (i = 0; i < sizeof ticket; i++)
        CHECK(ticket[i] == 'x');
    CHECK(IsError(code) && !IsWindowsError(code));
    CHECK_EQ(IsGenericError(code), cause->group == GENERIC);
    CHECK_EQ(IsCardDeviceError(code), cause->group == CARD);
    CHECK_EQ(IsAuthError(code), cause->group == AUTH);
    CHECK_EQ(IsConfigError(code), cause->group == CONFIG);
    CHECK_EQ(TcktApi_getErrorDescription(instance, (unsigned)code, words, sizeof words, &used), TCK_API_SUCCESS);
    CHECK(used == strlen(words) && strchr(words, ':') && !strstr(words, "1234"));
    /* With what the user can do. */
    CHECK_EQ(TcktApi_getErrorDescription(instance, (unsigned)code, whole, sizeof whole, NULL), TCK_API_SUCCESS);
    CHECK(strncmp(whole, words, 90) == 0 && strlen(whole) > 30 && whole[strlen(whole) - 1] == '.');
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    TcktApi_Finalize(instance);
}

static void the_configuration_is_wrong(const void *row)
{
    static const char *const settings[][2] = {{"TICKETAPI_ENVIRONMENT", "prod"}, {"TICKETAPI_CONFIG", NOWHERE "c.toml"}};
    char words[254];
    size_t i;
    (void)row;
    for (i = 0; i < 2; i++) {
        setenv(settings[i][0], settings[i][1], 1);
        CHECK_EQ(TcktApi_Initialize(), 0);
        CHECK_EQ(TcktApi_getLastError(0), TCK_API_ERR_LOAD_RES_FAILED);
        CHECK_EQ(TcktApi_getErrorDescription(0, TCK_API_ERR_LOAD_RES_FAILED, words, sizeof words, NULL), TCK_API_SUCCESS);
        CHECK(strstr(words, settings[i][1]) != NULL);
        unsetenv(settings[i][0]);
    }
    CHECK(TcktApi_Initialize() > 0);
    CHECK_EQ(TcktApi_getLastError(0), TCK_API_SUCCESS);
}

static void a_long_description_keeps_its_end_in_the_buffer_of_old_clients(const void *row)
{
    char path[600], whole[1024], words[1024], small[64], *remedy;
    const unsigned code = TCK_API_ERR_LOAD_RES_FAILED;
    unsigned used = 0;
    (void)row;
    memset(path, 'x', sizeof path);
    memcpy(path, NOWHERE, sizeof NOWHERE - 1);
    path[sizeof path - 1] = 0;
    setenv("TICKETAPI_CONFIG", path, 1);
    CHECK_EQ(TcktApi_Initialize(), 0);
    CHECK_EQ(TcktApi_getErrorDescription(0, code, small, sizeof small, NULL), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getErrorDescription(0, code, whole, sizeof whole, NULL), TCK_API_SUCCESS);
    CHECK(strstr(whole, path) != NULL);
    remedy = strstr(whole, ". Correct the setting that is named, then try again.");
    CHECK(remedy != NULL);
    *remedy = 0;
    CHECK_EQ(TcktApi_getErrorDescription(0, code, words, 254, &used), TCK_API_SUCCESS);
    CHECK_EQ(used, 253);
    CHECK_EQ(strlen(words), 253);
    CHECK(memcmp(words, whole, 100) == 0 && strstr(words, "x ... x") != NULL);
    CHECK_TEXT(words + 253 - 100, whole + strlen(whole) - 100);
    unsetenv("TICKETAPI_CONFIG");
}

static TCK_API_INSTANCE asked;

static void ask_for_a_ticket(void)
{
    char ticket[1024];
    CHECK_EQ(TcktApi_getTicket(asked, ticket, sizeof ticket, NULL), TCK_API_ERR_SERVER_BUSY);
}

static void the_library_is_busy(const void *row)
{
    User user;
    char ticket[1024];
    (void)row;
    at_a_desk(&user);
    user.while_asked = ask_for_a_ticket;
    asked = TcktApi_Initialize();
    CHECK_EQ(ticketapi_set("role", "1"), TCK_API_ERR_SERVER_BUSY);
    CHECK_EQ(TcktApi_getLastError(0), TCK_API_ERR_SERVER_BUSY);
    log_in(asked, ticket);
    CHECK_EQ(user.pins, 1);
    TcktApi_Finalize(asked);
    CHECK_EQ(ticketapi_set("role", "1"), TCK_API_ERR_SERVER_BUSY);
}

static void a_session_without_roles(const void *row)
{
    static const char *const no_roles[] = {"--roles", "0", NULL};
    User user = {.pin = "1234"};
    TCK_API_INSTANCE instance;
    char text[1024];
    unsigned number = 7;
    (void)row;
    start_spine(no_roles);
    use_card("good.p12");
    answer_with(&user);
    CHECK_EQ(ticketapi_set("require_role", "false"), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    log_in(instance, text);
    CHECK_EQ(ticketapi_chosen_role(instance, &number), TCK_API_ERR_RESOURCE_NOT_AVAILABLE);
    CHECK_EQ(number, 7);
    CHECK_EQ(ticketapi_role(instance, 0, TICKETAPI_ROLE_ID, text, sizeof text, NULL), TCK_API_ERR_RESOURCE_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_role_count(instance, &number), TCK_API_SUCCESS);
    CHECK_EQ(number, 0);
}

static void every_code_has_a_description(const void *row)
{
    static const unsigned last[][2] = {{TCK_ERR_GRP_GENERIC, 0xb}, {TCK_ERR_GRP_CARD_DEVICE, 7},
        {TCK_ERR_GRP_AUTHENTICATION, 8}, {TCK_ERR_GRP_CONFIG, 7}, {TCK_ERR_GRP_WINDOWS, 0}};
    char words[254];
    unsigned group, number;
    (void)row;
    for (group = 0; group < 5; group++) {
        for (number = 0; number < 16; number++) {
            int known = number > 0 && number <= last[group][1];
            int code = TcktApi_getErrorDescription(0, last[group][0] + number, words, sizeof words, NULL);
            CHECK_EQ(code, known ? TCK_API_SUCCESS : TCK_API_ERR_INVALID_PARAMETER);
            CHECK(!known || words[0]);
        }
    }
    CHECK_EQ(TcktApi_getErrorDescription(0, 0, words, sizeof words, NULL), TCK_API_SUCCESS);
}

/* The values that clients have been compiled with. */
static void every_code_has_its_value(const void *row)
{
#define CODE(name) TCK_API_ERR_##name
    static const unsigned generic[] = {CODE(INTERNAL), CODE(NOT_INITIALIZED), CODE(INVALID_PARAMETER), CODE(BUFFER_TOO_SMALL),
        CODE(INVALID_INSTANCE_HANDLE), CODE(SERVER_BUSY), CODE(SERVER_COMM_FAILED), CODE(RESOURCE_ALLOCATION_FAILED),
        CODE(TICKET_NOT_AVAILABLE), CODE(INTERNAL_ERROR), CODE(NOT_IMPLEMENTED)};
    static const unsigned card[] = {CODE(SMARTCARD_NOT_SUPPORTED), CODE(READER_NOT_AVAILABLE), CODE(SMARTCARD_NOT_VALID),
        CODE(PIN_BLOCKED), CODE(CARD_TRANSACTION_FAILED), CODE(NO_CERT_FOUND), CODE(NO_KEY_FOUND)};
    static const unsigned login[] = {CODE(USER_ABORT), CODE(AUTHENTICATION_FAILED), CODE(AUTHENTICATION_NOT_POSSIBLE),
        CODE(USER_NOT_VALID), CODE(AUTHSERVER_NOT_AVAILABLE), CODE(AUTHDATA_SYNTAX_ERROR), CODE(AUTH_NOT_VALID),
        CODE(AUTHMETHOD_NOT_SUPPORTED)};
    static const unsigned config[] = {CODE(VERSION_CONFLICT), CODE(NOT_INSTALLED), CODE(NO_SERVERFOUND), CODE(LOAD_RES_FAILED),
        CODE(AUTHMETHOD_NOT_AVAILABLE), CODE(AUTHMETHOD_NOT_POSSIBLE), CODE(RESOURCE_NOT_AVAILABLE)};
    static const struct {
        unsigned group, count;
        const unsigned *codes;
    } groups[] = {{0x80100000, 11, generic}, {0x80200000, 7, card}, {0x80400000, 8, login}, {0x80800000, 7, config}};
    unsigned group, i;
    (void)row;
    CHECK_EQ(TCK_API_SUCCESS, 0);
    CHECK_EQ(TCK_ERR_GRP_MASK, 0x80000000);
    CHECK_EQ(TCK_ERR_GRP_GENERIC, groups[0].group);
    CHECK_EQ(TCK_ERR_GRP_CARD_DEVICE, groups[1].group);
    CHECK_EQ(TCK_ERR_GRP_AUTHENTICATION, groups[2].group);
    CHECK_EQ(TCK_ERR_GRP_CONFIG, groups[3].group);
    CHECK_EQ(TCK_ERR_GRP_WINDOWS, 0x81000000);
    CHECK(GATICKET_VERSION_API == 1 && GATICKET_VERSION_ENGINE == 2 && sizeof(DWORD) == 4);
    for (group = 0; group < 4; group++)
        for (i = 0; i < groups[group].count; i++)
            CHECK_EQ(groups[group].codes[i], groups[group].group + i + 1);
}

const Test *codes_tests(void)
{
    static char names[CAUSES][80];
    static const Test others[] = {
        {"LOAD_RES_FAILED: the configuration is wrong", the_configuration_is_wrong, NULL},
        {"a long description keeps its end in the buffer of old clients", a_long_description_keeps_its_end_in_the_buffer_of_old_clients, NULL},
        {"SERVER_BUSY: a prompt requests a ticket, a setting is too late", the_library_is_busy, NULL},
        {"RESOURCE_NOT_AVAILABLE: a user without roles has chosen none", a_session_without_roles, NULL},
        {"every code has a description", every_code_has_a_description, NULL},
        {"every code has its value", every_code_has_its_value, NULL},
        {NULL, NULL, NULL},
    };
    static Test tests[CAUSES + sizeof others / sizeof *others];
    size_t i;
    for (i = 0; i < CAUSES; i++) {
        snprintf(names[i], sizeof names[i], "0x%08x: %s", causes[i].code, causes[i].cause);
        tests[i].name = names[i];
        tests[i].run = a_login_fails;
        tests[i].row = &causes[i];
    }
    memcpy(tests + CAUSES, others, sizeof others);
    return tests;
}

/* A session at an employer's Nuts node: the employee, access tokens, how sure the employer is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "TicketApi.h"
#include "harness.h"
#include "prompts.h"

#define LARGE 8192

static const TicketApiEmployee doctor = {"482", "K", "Bos", "Arts"};

static void an_employee_logs_in(const void *row)
{
    static const TicketApiEmployee other = {"483", "L", "Bos", NULL}, nobody = {"", "K", "Bos", NULL}, half = {"1", NULL, "Bos", NULL};
    TCK_API_INSTANCE instance;
    char ticket[LARGE], text[LARGE], words[254];
    const char *employer;
    unsigned level = 9;
    (void)row;
    start_node("accept");
    employer = getenv("TICKETAPI_EMPLOYER");
    instance = TcktApi_Initialize();
    CHECK(instance != 0);
    CHECK_EQ(ticketapi_set_employee(instance, &doctor), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_assurance_level(instance, &level), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    CHECK_EQ(TcktApi_getTicket(instance, ticket, 1024, NULL), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_SUCCESS);
    CHECK_EQ(spine_requests("/signature/verify"), 1);
    CHECK(strncmp(ticket, "eyJAY29udGV4dCI6", 16) == 0);
    CHECK_EQ(ticketapi_user_name(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(text, "K Bos");
    CHECK_EQ(ticketapi_assurance_level(instance, &level), TCK_API_SUCCESS);
    CHECK_EQ(level, TICKETAPI_ASSURANCE_LOW);
    CHECK_EQ(ticketapi_claims(instance, text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK(strncmp(text, "{\"@context\":", 12) == 0);
    CHECK_EQ(ticketapi_access_token(instance, employer, "test", text, sizeof text, NULL), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_introspect(instance, text, ticket, sizeof ticket, NULL), TCK_API_SUCCESS);
    CHECK(strstr(ticket, "\"active\":true") != NULL);
    CHECK_EQ(ticketapi_access_token(instance, employer, "unknown", text, sizeof text, NULL), TCK_API_ERR_AUTHENTICATION_FAILED);
    CHECK_EQ(TcktApi_getErrorDescription(instance, TCK_API_ERR_AUTHENTICATION_FAILED, words, sizeof words, NULL), TCK_API_SUCCESS);
    CHECK(strstr(words, "gives no access token") != NULL);
    CHECK_EQ(ticketapi_access_token(instance, employer, NULL, text, sizeof text, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_set_employee(instance, &doctor), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_set_employee(instance, &nobody), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_set_employee(instance, &half), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_set_employee(instance, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_set_employee(instance, &other), TCK_API_SUCCESS);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
    TcktApi_Finalize(instance);
}

static void a_contract_is_rejected(const void *row)
{
    TCK_API_INSTANCE instance;
    char ticket[LARGE];
    (void)row;
    start_node("reject");
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    TcktApi_Finalize(instance);
}

static int shown;

static int open_page(void *user_data, const char *address)
{
    shown++;
    if (strstr(address, "/public/auth/v1/means/employeeid/") == NULL)
        return TICKETAPI_CANCELLED;
    return *(int *)user_data;
}

static void a_program_shows_the_page(const void *row)
{
    TCK_API_INSTANCE instance;
    User user = {.pin = NULL};
    char ticket[LARGE];
    int answer = TICKETAPI_CANCELLED;
    (void)row;
    start_node("reject");
    answer_with(&user);
    CHECK_EQ(ticketapi_set_browser(open_page, &answer), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    CHECK_EQ(shown, 1);
    CHECK_EQ(user.waits, 0);
    /* Now it is shown, and nobody answers. */
    answer = TICKETAPI_ANSWERED;
    TcktApi_Finalize(instance);
    CHECK_EQ(ticketapi_set("login_timeout", "1"), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    CHECK_EQ(shown, 2);
    CHECK_EQ(user.waits, 101);
    CHECK_EQ(ticketapi_set_browser(NULL, NULL), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
}

static TCK_API_INSTANCE at_desk;

static void give_up(void)
{
    CHECK_EQ(ticketapi_cancel(at_desk), TCK_API_SUCCESS);
}

static void a_user_gives_up_at_the_notice(const void *row)
{
    User user = {.pin = NULL, .while_browsing = give_up};
    char ticket[LARGE];
    (void)row;
    start_node("accept");
    setenv("TICKETAPI_BROWSER", "true", 1);
    answer_with(&user);
    at_desk = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(at_desk, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    CHECK_EQ(user.waits, 101);
    TcktApi_Finalize(at_desk);
}

/* A PIN window that keeps what it shows in a file, and in which the user presses Cancel. */
static void use_cancelling_pinentry(char said[512])
{
    char path[512];
    FILE *script;
    snprintf(said, 512, "%s/said-%d", getenv("HOME"), (int)getpid());
    snprintf(path, sizeof path, "%s/pinentry-%d", getenv("HOME"), (int)getpid());
    script = fopen(path, "w");
    CHECK(script != NULL);
    fprintf(script, "#!/bin/sh\necho OK\nwhile read -r line; do case $line in\nSETDESC*) echo \"$line\" >>'%s'; echo OK ;;\n"
                    "CONFIRM) echo 'ERR 83886179 cancelled' ;;\n*) echo OK ;;\nesac; done\n", said);
    fclose(script);
    CHECK(chmod(path, 0700) == 0);
    setenv("TICKETAPI_PINENTRY", path, 1);
}

static void the_configured_prompter_shows_the_notice(const void *row)
{
    TCK_API_INSTANCE instance;
    char ticket[LARGE], said[512], line[256];
    int answer = TICKETAPI_ANSWERED;
    FILE *file;
    (void)row;
    start_node("accept");
    setenv("TICKETAPI_BROWSER", "true", 1);
    use_cancelling_pinentry(said);
    /* A program that shows the page itself needs none. */
    setenv("TICKETAPI_LOGIN_TIMEOUT", "1", 1);
    CHECK_EQ(ticketapi_set_browser(open_page, &answer), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    CHECK(access(said, F_OK) != 0);
    TcktApi_Finalize(instance);
    CHECK_EQ(ticketapi_set_browser(NULL, NULL), TCK_API_SUCCESS);
    setenv("TICKETAPI_LOGIN_TIMEOUT", "300", 1);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    file = fopen(said, "r");
    CHECK(file != NULL && fgets(line, sizeof line, file) != NULL && strstr(line, "browser") != NULL);
    fclose(file);
    TcktApi_Finalize(instance);
}

static void a_resource_requires_a_level(const void *row)
{
    static const struct {
        const char *resource;
        unsigned code, level;
    } cases[] = {
        {"{\"path\": \"/a\", \"assuranceLevel\": \"low\"}", TCK_API_SUCCESS, TICKETAPI_ASSURANCE_LOW},
        {"{\"authenticationAssuranceLevel\": \"middle\"}", TCK_API_SUCCESS, TICKETAPI_ASSURANCE_SUBSTANTIAL},
        {"{\"userContext\": true}", TCK_API_SUCCESS, TICKETAPI_ASSURANCE_UNKNOWN},
        {"{\"assuranceLevel\": \"none\"}", TCK_API_ERR_INVALID_PARAMETER, 9},
        {"low", TCK_API_ERR_INVALID_PARAMETER, 9},
        {NULL, TCK_API_ERR_INVALID_PARAMETER, 9},
    };
    size_t i;
    (void)row;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned level = 9;
        CHECK_EQ(ticketapi_required_level(cases[i].resource, &level), cases[i].code);
        CHECK_EQ(level, cases[i].level);
        CHECK_EQ(TcktApi_getLastError(0), cases[i].code);
    }
    CHECK_EQ(ticketapi_required_level("{}", NULL), TCK_API_ERR_INVALID_PARAMETER);
}

const Test nuts_tests[] = {
    {"a program shows the page of a Nuts node itself", a_program_shows_the_page, NULL},
    {"a user gives up at the notice that the login goes on in the browser", a_user_gives_up_at_the_notice, NULL},
    {"the configured prompter shows that the login goes on in the browser", the_configured_prompter_shows_the_notice, NULL},
    {"a resource requires a level", a_resource_requires_a_level, NULL},
    {"an employee of a Nuts node logs in", an_employee_logs_in, NULL},
    {"a contract of a Nuts node is rejected", a_contract_is_rejected, NULL},
    {NULL, NULL, NULL},
};

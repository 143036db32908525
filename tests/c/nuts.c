/* A session at an employer's Nuts node: the employee, access tokens, how sure the employer is. */
#include <stdlib.h>
#include <string.h>

#include "TicketApi.h"
#include "harness.h"

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
    char ticket[LARGE];
    int answer = TICKETAPI_CANCELLED;
    (void)row;
    start_node("reject");
    CHECK_EQ(ticketapi_set_browser(open_page, &answer), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    CHECK_EQ(shown, 1);
    /* Now it is shown, and nobody answers. */
    answer = TICKETAPI_ANSWERED;
    TcktApi_Finalize(instance);
    CHECK_EQ(ticketapi_set("login_timeout", "1"), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    CHECK_EQ(TcktApi_getTicket(instance, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    CHECK_EQ(shown, 2);
    CHECK_EQ(ticketapi_set_browser(NULL, NULL), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
}

const Test nuts_tests[] = {
    {"a program shows the page of a Nuts node itself", a_program_shows_the_page, NULL},
    {"an employee of a Nuts node logs in", an_employee_logs_in, NULL},
    {"a contract of a Nuts node is rejected", a_contract_is_rejected, NULL},
    {NULL, NULL, NULL},
};

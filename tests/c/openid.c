/* What sessions at OpenID providers have: changes of role and context, claims. */
#include "harness.h"
#include "prompts.h"

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

const Test openid_tests[] = {
    {"the SSB has neither changes of role nor contexts nor claims", what_the_broker_does_not_have, NULL},
    {NULL, NULL, NULL},
};

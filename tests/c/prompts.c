#include "prompts.h"

#include <stdio.h>
#include <string.h>

#include "harness.h"

static int ask_pin(void *user_data, const TicketApiPinRequest *request, char *pin, unsigned int size)
{
    User *user = user_data;
    const char *answer = request->problem == TICKETAPI_PIN_FIRST ? user->pin : user->then;
    user->pins++;
    user->asked_on = pthread_self();
    user->seen = *request;
    if (user->hold_ms)
        sleep_ms(user->hold_ms);
    if (user->while_asked)
        user->while_asked();
    if (!answer || strlen(answer) >= size)
        return TICKETAPI_CANCELLED;
    strcpy(pin, answer);
    return TICKETAPI_ANSWERED;
}

static int ask_last_try(void *user_data, const TicketApiPinRequest *request)
{
    User *user = user_data;
    user->last_tries++;
    user->seen = *request;
    return user->last_try ? TICKETAPI_ANSWERED : TICKETAPI_CANCELLED;
}

static int ask_role(void *user_data, const TicketApiRole *roles, unsigned int count, unsigned int *chosen)
{
    User *user = user_data;
    user->roles++;
    if (user->role < 0 || (unsigned)user->role >= count || !roles[user->role].id[0])
        return TICKETAPI_CANCELLED;
    *chosen = (unsigned)user->role;
    return TICKETAPI_ANSWERED;
}

static void tell(void *user_data, int message, const char *text)
{
    User *user = user_data;
    CHECK(text[0] != 0);
    if (message == TICKETAPI_BROWSER_OPENED || message == TICKETAPI_BROWSER_WAIT_OVER) {
        user->waits += message == TICKETAPI_BROWSER_OPENED ? 1 : 100;
        if (message == TICKETAPI_BROWSER_OPENED && user->while_browsing)
            user->while_browsing();
        return;
    }
    CHECK(message == TICKETAPI_INSERT_CARD || message == TICKETAPI_PIN_ON_READER);
    user->messages++;
    snprintf(user->told, sizeof user->told, "%s", text);
}

const TicketApiPrompter usual_prompter = {ask_pin, ask_last_try, ask_role, tell};

void answer_with(User *user)
{
    CHECK_EQ(ticketapi_set_prompter(&usual_prompter, user), TCK_API_SUCCESS);
}

void at_a_desk(User *user)
{
    static const User typical = {.pin = "1234", .role = 1};
    *user = typical;
    start_spine(NULL);
    use_card("good.p12");
    answer_with(user);
}

unsigned log_in(TCK_API_INSTANCE instance, char ticket[1024])
{
    unsigned used = 0;
    CHECK_EQ(TcktApi_getTicket(instance, ticket, 1024, &used), TCK_API_SUCCESS);
    CHECK(used > 20 && strlen(ticket) == used);
    return used;
}

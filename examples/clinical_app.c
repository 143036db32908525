/*
 * A clinical program that works for the user who is logged in.
 *
 *     cc clinical_app.c $(pkg-config --cflags --libs ticketapi) -o clinical_app && ./clinical_app
 *
 * It asks for the PIN and the role on the terminal. Without ticketapi_set_prompter() the desktop's
 * own PIN window and role chooser would be used.
 */
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "TicketApi.h"

static int read_line(char *line, unsigned int size)
{
    if (!fgets(line, (int)size, stdin))
        return 0;
    line[strcspn(line, "\n")] = 0;
    return line[0] != 0; /* an empty line cancels */
}

static int ask_pin(void *user_data, const TicketApiPinRequest *request, char *pin, unsigned int size)
{
    struct termios shown, hidden;
    int terminal = tcgetattr(STDIN_FILENO, &shown) == 0;
    int answered;
    (void)user_data;

    if (request->problem == TICKETAPI_PIN_WRONG)
        printf("Wrong PIN.\n");
    if (request->problem == TICKETAPI_PIN_LENGTH)
        printf("A PIN has %u to %u characters.\n", request->shortest, request->longest);
    printf("PIN of %s: ", request->card);
    fflush(stdout);
    if (terminal) {
        hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    }
    answered = read_line(pin, size);
    if (terminal)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    printf("\n");
    return answered ? TICKETAPI_ANSWERED : TICKETAPI_CANCELLED;
}

static int ask_last_try(void *user_data, const TicketApiPinRequest *request)
{
    char answer[8];
    (void)user_data;
    printf("One more wrong PIN locks %s. Try it? (yes/no) ", request->card);
    fflush(stdout);
    return read_line(answer, sizeof answer) && strcmp(answer, "yes") == 0 ? TICKETAPI_ANSWERED : TICKETAPI_CANCELLED;
}

static int ask_role(void *user_data, const TicketApiRole *roles, unsigned int count, unsigned int *chosen)
{
    char answer[16];
    unsigned int i;
    (void)user_data;
    for (i = 0; i < count; i++)
        printf("%3u  %s: %s\n", i + 1, roles[i].organisation, roles[i].name);
    printf("Work as: ");
    fflush(stdout);
    if (!read_line(answer, sizeof answer) || sscanf(answer, "%u", &i) != 1 || i < 1 || i > count)
        return TICKETAPI_CANCELLED;
    *chosen = i - 1;
    return TICKETAPI_ANSWERED;
}

static void tell(void *user_data, int message, const char *text)
{
    (void)user_data;
    (void)message;
    printf("%s\n", text);
}

/* Prints what happened and what the user can do, for which a smaller buffer may not have the room. */
static void explain(TCK_API_INSTANCE instance, unsigned int code)
{
    char words[1024];
    if (TcktApi_getErrorDescription(instance, code, words, sizeof words, NULL) != TCK_API_SUCCESS)
        strcpy(words, "unknown");
    fprintf(stderr, "%s (0x%08x)\n", words, code);
}

static void show_who_is_here(TCK_API_INSTANCE instance)
{
    char text[1024];
    unsigned int role;
    if (ticketapi_user_name(instance, text, sizeof text, NULL) == TCK_API_SUCCESS)
        printf("user  %s\n", text);
    if (ticketapi_chosen_role(instance, &role) == TCK_API_SUCCESS
        && ticketapi_role(instance, role, TICKETAPI_ROLE_LINE, text, sizeof text, NULL) == TCK_API_SUCCESS)
        printf("role  %s\n", text);
}

int main(void)
{
    static const TicketApiPrompter prompter = {ask_pin, ask_last_try, ask_role, tell};
    char ticket[1024];
    unsigned int length;
    TCK_API_INSTANCE instance;
    int code;

    ticketapi_set_prompter(&prompter, NULL);
    instance = TcktApi_Initialize();
    if (instance == 0) {
        explain(0, TcktApi_getLastError(0));
        return 1;
    }

    /* Does not prompt if there is already a session. */
    code = TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, &length);
    if ((unsigned int)code == TCK_API_ERR_TICKET_NOT_AVAILABLE)
        code = TcktApi_getTicket(instance, ticket, sizeof ticket, &length);
    if (code == (int)TCK_API_SUCCESS) {
        show_who_is_here(instance);
        printf("The ticket has %u characters.\n", length);
        /* The program would use the ticket here. It is then wiped, because whoever has it can act for the user. */
        memset(ticket, 0, sizeof ticket);
        code = TcktApi_destroyTicket(instance);
    }
    if (IsError(code))
        explain(instance, (unsigned int)code);
    TcktApi_Finalize(instance);
    return IsError(code);
}

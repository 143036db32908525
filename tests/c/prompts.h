/* A user who answers the library's prompts. */
#ifndef PROMPTS_H
#define PROMPTS_H

#include <pthread.h>

#include "TicketApi.h"

typedef struct {
    const char *pin;          /* NULL cancels */
    const char *then;         /* the PIN after a wrong one; NULL cancels */
    int role;                 /* -1 cancels */
    int last_try;             /* whether to use it */
    int hold_ms;              /* how long the user thinks about the PIN */
    void (*while_asked)(void); /* runs in the PIN prompt */
    void (*while_browsing)(void); /* runs when the login goes on in the browser */
    int pins, roles, last_tries, messages;
    int waits;                /* for the browser: those that began, and a hundred for each that is over */
    char told[128];           /* the last message */
    pthread_t asked_on;
    TicketApiPinRequest seen; /* texts in it are not valid later */
} User;

/* The prompter that asks a User. */
extern const TicketApiPrompter usual_prompter;

/* Makes `user` answer from now on. */
void answer_with(User *user);

/* The usual set-up: simulator, software card, and a user who knows the PIN. */
void at_a_desk(User *user);

/* Logs in, which must succeed. Returns the ticket's length. */
unsigned log_in(TCK_API_INSTANCE instance, char ticket[1024]);

#endif

/* Calls from many threads at once. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "prompts.h"

#define THREADS 64

static TCK_API_INSTANCE shared;
static atomic_int over;
static atomic_int begun;

static void in_threads(int count, void *(*run)(void *), void *data)
{
    pthread_t threads[THREADS];
    int i;
    for (i = 0; i < count; i++)
        CHECK(pthread_create(&threads[i], NULL, run, data) == 0);
    for (i = 0; i < count; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static void *get_the_ticket(void *code)
{
    char ticket[1024];
    begun++;
    CHECK_EQ(TcktApi_getTicket(shared, ticket, sizeof ticket, NULL), *(unsigned *)code);
    CHECK_EQ(TcktApi_getLastError(shared), *(unsigned *)code);
    return NULL;
}

static void wait_for_the_others(void)
{
    char ticket[1024];
    while (begun < THREADS)
        sleep_ms(1);
    /* Threads that are not in the call yet soon are. */
    sleep_ms(50);
    CHECK_EQ(TcktApi_getTicketNoAuth(shared, ticket, sizeof ticket, NULL), TCK_API_ERR_TICKET_NOT_AVAILABLE);
}

static void all_share_one_login(const void *row)
{
    User user;
    unsigned code = TCK_API_SUCCESS;
    (void)row;
    at_a_desk(&user);
    user.while_asked = wait_for_the_others;
    shared = TcktApi_Initialize();
    in_threads(THREADS, get_the_ticket, &code);
    CHECK_EQ(user.pins, 1);
    CHECK_EQ(user.roles, 1);
    CHECK_EQ(spine_requests("/login/authvalidate"), 1);
}

static void all_share_one_failure(const void *row)
{
    User user;
    unsigned code = TCK_API_ERR_USER_ABORT;
    (void)row;
    at_a_desk(&user);
    user.while_asked = wait_for_the_others;
    user.pin = NULL;
    shared = TcktApi_Initialize();
    in_threads(THREADS, get_the_ticket, &code);
    CHECK_EQ(user.pins, 1);
}

static void cancel_it(void)
{
    CHECK_EQ(ticketapi_cancel(shared), TCK_API_SUCCESS);
}

static void *cancel_when_asked(void *data)
{
    User *user = data;
    while (!begun)
        sleep_ms(1);
    (void)user;
    CHECK_EQ(ticketapi_cancel(shared), TCK_API_SUCCESS);
    begun = 2;
    return NULL;
}

static void wait_for_cancel(void)
{
    begun = 1;
    while (begun < 2)
        sleep_ms(1);
}

static void another_thread_cancels(const void *row)
{
    User user;
    pthread_t thread;
    char ticket[1024];
    (void)row;
    at_a_desk(&user);
    user.while_asked = wait_for_cancel;
    shared = TcktApi_Initialize();
    CHECK_EQ(ticketapi_cancel(shared), TCK_API_SUCCESS); /* nothing to cancel */
    CHECK(pthread_create(&thread, NULL, cancel_when_asked, &user) == 0);
    CHECK_EQ(TcktApi_getTicket(shared, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    CHECK(pthread_join(thread, NULL) == 0);
    user.while_asked = cancel_it;
    CHECK_EQ(TcktApi_getTicket(shared, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    CHECK_EQ(spine_requests("/login/authvalidate"), 0);
    user.while_asked = NULL;
    user.pins = 0;
    log_in(shared, ticket);
}

static void *cancel_after_a_while(void *data)
{
    sleep_ms(200);
    (void)data;
    CHECK_EQ(ticketapi_cancel(shared), TCK_API_SUCCESS);
    return NULL;
}

static void a_hung_card_can_be_cancelled(const void *row)
{
    User user = {.pin = "1234"};
    pthread_t thread;
    char ticket[1024];
    long long began;
    (void)row;
    start_spine(NULL);
    use_card("hangs");
    answer_with(&user);
    shared = TcktApi_Initialize();
    began = now_ns();
    CHECK(pthread_create(&thread, NULL, cancel_after_a_while, NULL) == 0);
    CHECK_EQ(TcktApi_getTicket(shared, ticket, sizeof ticket, NULL), TCK_API_ERR_USER_ABORT);
    CHECK(pthread_join(thread, NULL) == 0);
    if (!getenv("TEST_INSTRUMENTED"))
        CHECK(now_ns() - began < 2000000000LL);
    CHECK_EQ(count_children(), 1);
}

/* A ticket of at most 1,024 bytes, or one of these codes. */
static void check_outcome(int code, const char *ticket)
{
    if (code == (int)TCK_API_SUCCESS) {
        CHECK(strlen(ticket) > 20);
        return;
    }
    CHECK_EQ(code, (unsigned)code == TCK_API_ERR_TICKET_NOT_AVAILABLE || (unsigned)code == TCK_API_ERR_USER_ABORT
                       ? (unsigned)code
                       : TCK_API_ERR_INVALID_INSTANCE_HANDLE);
}

static _Atomic TCK_API_INSTANCE changing;

static void *read_tickets(void *data)
{
    (void)data;
    while (!over) {
        char ticket[1024] = "";
        check_outcome(TcktApi_getTicketNoAuth(changing, ticket, sizeof ticket, NULL), ticket);
    }
    return NULL;
}

static void *get_tickets(void *data)
{
    (void)data;
    while (!over) {
        char ticket[1024] = "";
        check_outcome(TcktApi_getTicket(changing, ticket, sizeof ticket, NULL), ticket);
        begun++;
    }
    return NULL;
}

static void *change_handles(void *data)
{
    (void)data;
    while (!over) {
        TCK_API_INSTANCE next = TcktApi_Initialize();
        CHECK(next > 0);
        TcktApi_Finalize(atomic_exchange(&changing, next));
    }
    return NULL;
}

static void *destroy_sessions(void *count)
{
    int i;
    for (i = 0; i < *(int *)count; i++) {
        int code;
        int before = begun;
        while (begun < before + 2)
            sleep_ms(1);
        code = TcktApi_destroyTicket(changing);
        check_outcome(code, "a ticket that is long enough");
    }
    over = 1;
    return NULL;
}

static void many_threads_destroy_and_get(const void *row)
{
    User user;
    pthread_t threads[8];
    void *(*runs[])(void *) = {read_tickets, read_tickets, read_tickets, get_tickets, get_tickets, change_handles, change_handles, destroy_sessions};
    int i, count = scaled(30);
    TCK_API_INSTANCE instance;
    char ticket[1024];
    (void)row;
    at_a_desk(&user);
    user.then = "1234";
    changing = TcktApi_Initialize();
    for (i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, runs[i], &count) == 0);
    for (i = 0; i < 8; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    instance = changing;
    log_in(instance, ticket);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
    CHECK_EQ(count_threads(), 1);
}

const Test thread_tests[] = {
    {"64 threads share one login", all_share_one_login, NULL},
    {"64 threads share one failure", all_share_one_failure, NULL},
    {"another thread cancels a login", another_thread_cancels, NULL},
    {"a hung card can be cancelled", a_hung_card_can_be_cancelled, NULL},
    {"many calls of Finalize and destroyTicket while others get tickets", many_threads_destroy_and_get, NULL},
    {NULL, NULL, NULL},
};

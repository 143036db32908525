/* The floor of Calls.java: the same call from C, in the same process and session. */
#include <jni.h>
#include <stddef.h>

#include "TicketApi.h"

JNIEXPORT jint JNICALL Java_ticketapi_bench_Calls_inC(JNIEnv *env, jclass type, jint calls)
{
    static TCK_API_INSTANCE instance;
    char ticket[1024];
    jint failed = 0;
    (void)env;
    (void)type;
    if (instance == 0)
        instance = TcktApi_Initialize();
    while (calls-- > 0)
        failed |= TcktApi_getTicketNoAuth(instance, ticket, sizeof ticket, NULL);
    return failed;
}

/* A C program with a JVM: a thread that stays attached calls the native methods of GATicket and logs in with Java's
   prompter, without a Java frame that returns. */
#include <jni.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "TicketApi.h"

#define ROUNDS 20
#define CALLS 2000

static JavaVM *vm;

static void check(int holds, const char *what)
{
    if (!holds) {
        printf("%s does not hold: 0x%x\n", what, TcktApi_getLastError(0));
        exit(1);
    }
}

/* The JVM would report too many local references long before the end. */
static void *attached(void *unused)
{
    JNIEnv *env;
    jclass type;
    jmethodID method;
    jobject object;
    int round, call;
    TCK_API_INSTANCE instance = TcktApi_Initialize();
    (void)unused;
    check((*vm)->AttachCurrentThread(vm, (void **)&env, NULL) == JNI_OK, "attached");
    type = (*env)->FindClass(env, "com/gemplus/gemauth/api/GATicket");
    method = (*env)->GetMethodID(env, type, "<init>", "()V");
    check(method != NULL && !(*env)->ExceptionCheck(env), "a constructor");
    object = (*env)->NewObject(env, type, method);
    check(object != NULL && !(*env)->ExceptionCheck(env), "an object");
    method = (*env)->GetMethodID(env, type, "getTicketNoAuth", "()Ljava/lang/String;");
    check(method != NULL && !(*env)->ExceptionCheck(env), "a method");
    for (round = 0; round < ROUNDS; round++) {
        char ticket[1024];
        check(TcktApi_getNewTicket(instance, ticket, sizeof ticket, NULL) == 0, "a login");
        check(!(*env)->ExceptionCheck(env), "no exception");
        for (call = 0; call < CALLS; call++) {
            jstring same = (*env)->CallObjectMethod(env, object, method);
            check(!(*env)->ExceptionCheck(env) && same != NULL, "the same ticket");
            (*env)->DeleteLocalRef(env, same);
        }
    }
    (*vm)->DetachCurrentThread(vm);
    /* Also a thread that is not attached to Java. */
    {
        char ticket[1024];
        check(TcktApi_getNewTicket(instance, ticket, sizeof ticket, NULL) == 0, "a login without being attached");
        check((*vm)->GetEnv(vm, (void **)&env, JNI_VERSION_1_6) == JNI_EDETACHED, "not attached after it");
    }
    return NULL;
}

int main(int argc, char **argv)
{
    JavaVMOption options[3];
    JavaVMInitArgs arguments = {JNI_VERSION_1_6, 3, options, JNI_FALSE};
    JNIEnv *env;
    jclass prompts;
    jmethodID set;
    pthread_t thread;
    if (argc != 3)
        return 2;
    options[0].optionString = "-Xcheck:jni";
    options[1].optionString = argv[1];
    options[2].optionString = argv[2];
    check(JNI_CreateJavaVM(&vm, (void **)&env, &arguments) == JNI_OK, "a JVM");
    prompts = (*env)->FindClass(env, "ticketapi/tests/Embedded");
    set = prompts ? (*env)->GetStaticMethodID(env, prompts, "setPrompter", "()V") : NULL;
    check(set != NULL, "the prompter's class");
    (*env)->CallStaticVoidMethod(env, prompts, set);
    check(!(*env)->ExceptionCheck(env), "a prompter");
    pthread_create(&thread, NULL, attached, NULL);
    pthread_join(thread, NULL);
    check((*vm)->DestroyJavaVM(vm) == JNI_OK, "the end");
    puts("done");
    return 0;
}

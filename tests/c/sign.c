/* Signing documents with the card. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "prompts.h"

#define LARGE 8192

static char told[256];

static int shows_the_purpose(void *user_data, const TicketApiPinRequest *request, char *pin, unsigned size)
{
    (void)user_data;
    CHECK(request->purpose != NULL && size > 4);
    snprintf(told, sizeof told, "%s", request->purpose);
    strcpy(pin, "1234");
    return TICKETAPI_ANSWERED;
}

static const TicketApiPayload two[] = {{"two tablets", 11}, {"", 0}};

static TicketApiSignRequest of(const TicketApiPayload *payloads, unsigned count)
{
    TicketApiSignRequest request;
    memset(&request, 0, sizeof request);
    request.payloads = payloads;
    request.count = count;
    return request;
}

static void write_file(const char *name, const char *bytes, size_t size)
{
    FILE *file = fopen(name, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

static void documents_are_signed(const void *row)
{
    static const TicketApiPrompter prompter = {shows_the_purpose, NULL, NULL, NULL};
    TicketApiSignRequest request = of(two, 2);
    TCK_API_INSTANCE instance, other;
    char signature[LARGE], certificate[LARGE];
#ifndef _WIN32
    char folder[] = "/tmp/ticketapi-sign-XXXXXX";
#endif
    unsigned used = 0, length = 0, time = 0;
    (void)row;
    use_card("signs.p12");
    CHECK_EQ(ticketapi_set_prompter(&prompter, NULL), TCK_API_SUCCESS);
    instance = TcktApi_Initialize();
    other = TcktApi_Initialize();
    CHECK(instance != 0 && other != 0);
    CHECK_EQ(ticketapi_signature(instance, 0, signature, sizeof signature, &used), TCK_API_ERR_RESOURCE_NOT_AVAILABLE);
    request.title = "for A. Patient";
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_SUCCESS);
    CHECK(strncmp(told, "sign 2 documents: for A. Patient (for ", 38) == 0);
    CHECK_EQ(ticketapi_signature(instance, 0, signature, sizeof signature, &used), TCK_API_SUCCESS);
    CHECK_EQ(used, 256);
    CHECK_EQ(signature[256], 0);
    CHECK_EQ(ticketapi_signature(instance, 1, signature, 256, NULL), TCK_API_ERR_BUFFER_TOO_SMALL);
    CHECK_EQ(ticketapi_signature(instance, 2, signature, sizeof signature, NULL), TCK_API_ERR_RESOURCE_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_signature(instance, 0, NULL, 1, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_signature(other, 0, signature, sizeof signature, NULL), TCK_API_ERR_RESOURCE_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_signer(instance, 0, certificate, sizeof certificate, &length), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_signer(instance, 1, certificate, sizeof certificate, NULL), TCK_API_ERR_RESOURCE_NOT_AVAILABLE);
    CHECK_EQ(ticketapi_signing_time(instance, &time), TCK_API_SUCCESS);
    CHECK(time > 1700000000u);
    CHECK_EQ(ticketapi_signing_time(instance, NULL), TCK_API_ERR_INVALID_PARAMETER);
#ifdef _WIN32
    /* The script that runs the tests verifies it: there is no openssl. */
    CHECK(chdir(needed("TEST_STATE")) == 0);
#else
    CHECK(mkdtemp(folder) != NULL && chdir(folder) == 0);
#endif
    write_file("signature", signature, used);
    write_file("certificate", certificate, length);
    write_file("payload", two[0].data, two[0].size);
#ifndef _WIN32
    CHECK_EQ(system("openssl x509 -inform DER -in certificate -pubkey -noout >key && "
                    "openssl dgst -sha256 -verify key -signature signature payload >/dev/null"), 0);
    CHECK(chdir("/") == 0);
    snprintf(told, sizeof told, "rm -r %s", folder);
    CHECK_EQ(system(told), 0);
#endif
    TcktApi_Finalize(instance);
    CHECK_EQ(ticketapi_signer(instance, 0, certificate, sizeof certificate, NULL), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
    TcktApi_Finalize(other);
}

static void containers_and_hashes(const void *row)
{
    char hash[32] = {1}, signature[LARGE];
    const TicketApiPayload hashed = {hash, sizeof hash};
    TicketApiSignRequest request = of(two, 1);
    TCK_API_INSTANCE instance;
    unsigned used;
    User user = {.pin = "1234"};
    (void)row;
    use_card("signs.p12");
    answer_with(&user);
    instance = TcktApi_Initialize();
    request.format = "cms";
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_signature(instance, 0, signature, sizeof signature, &used), TCK_API_SUCCESS);
    CHECK(used > 1000 && memcmp(signature, "\x30\x82", 2) == 0);
    request.format = "jws";
    request.algorithm = "PS256";
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_signature(instance, 0, signature, sizeof signature, &used), TCK_API_SUCCESS);
    CHECK_EQ(strlen(signature), used);
    CHECK(strncmp(signature, "eyJ", 3) == 0);
    request = of(&hashed, 1);
    request.hashes = 1;
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_signature(instance, 0, signature, sizeof signature, &used), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 3);
    TcktApi_Finalize(instance);
}

static void wrong_requests_ask_for_no_pin(const void *row)
{
    static TicketApiPayload many[251];
    TicketApiSignRequest request = of(two, 2);
    TCK_API_INSTANCE instance;
    char words[254], signature[LARGE];
    User user = {.pin = "1234"};
    (void)row;
    use_card("signs.p12");
    answer_with(&user);
    instance = TcktApi_Initialize();
    CHECK_EQ(ticketapi_sign(instance, NULL), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(ticketapi_sign(instance + 1, &request), TCK_API_ERR_INVALID_INSTANCE_HANDLE);
    request.count = 0;
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(TcktApi_getErrorDescription(instance, TCK_API_ERR_INVALID_PARAMETER, words, sizeof words, NULL), TCK_API_SUCCESS);
    CHECK(strstr(words, "there is nothing to sign") != NULL);
    request = of(many, 251);
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_INVALID_PARAMETER);
    request = of(NULL, 1);
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_INVALID_PARAMETER);
    many[0].size = 1;
    request = of(many, 1);
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_INVALID_PARAMETER);
    request = of(two, 2);
    request.algorithm = "none";
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_INVALID_PARAMETER);
    request.algorithm = "RS1";
    request.format = "jws";
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_INVALID_PARAMETER);
    request = of(two, 2);
    request.format = "pdf";
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_INVALID_PARAMETER);
    request = of(two, 2);
    request.hashes = 1;
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_INVALID_PARAMETER);
    CHECK_EQ(user.pins, 0);
    user.pin = NULL;
    request = of(two, 2);
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_USER_ABORT);
    CHECK_EQ(ticketapi_signature(instance, 0, signature, sizeof signature, NULL), TCK_API_ERR_RESOURCE_NOT_AVAILABLE);
    TcktApi_Finalize(instance);
}

static void the_card_to_log_in_with_signs_only_when_asked_to(const void *row)
{
    TicketApiSignRequest request = of(two, 1);
    TCK_API_INSTANCE instance;
    User user = {.pin = "1234"};
    (void)row;
    use_card("good.p12");
    answer_with(&user);
    instance = TcktApi_Initialize();
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_NO_CERT_FOUND);
    request.login_key = 1;
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
}

#ifndef _WIN32
static void a_card_of_two_tokens_has_a_pin_for_each(const void *row)
{
    TicketApiSignRequest request = of(two, 2);
    TCK_API_INSTANCE instance;
    char ticket[1024], again[1024], signature[LARGE];
    User user = {.pin = "1234", .role = 0};
    (void)row;
    start_spine(NULL);
    use_card("signature");
    answer_with(&user);
    instance = TcktApi_Initialize();
    log_in(instance, ticket);
    user.pin = "735519";
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_SUCCESS);
    CHECK_EQ(ticketapi_signature(instance, 1, signature, sizeof signature, NULL), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 2);
    CHECK_EQ(TcktApi_getTicketNoAuth(instance, again, sizeof again, NULL), TCK_API_SUCCESS);
    CHECK_TEXT(again, ticket);
    CHECK_EQ(TcktApi_destroyTicket(instance), TCK_API_SUCCESS);
    TcktApi_Finalize(instance);
}

/* Signs three documents with a card that signs some of them. */
static TCK_API_INSTANCE sign_three(const char *card, User *user)
{
    static const TicketApiPayload three[] = {{"a", 1}, {"b", 1}, {"c", 1}};
    TicketApiSignRequest request = of(three, 3);
    TCK_API_INSTANCE instance;
    use_card(card);
    answer_with(user);
    instance = TcktApi_Initialize();
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_ERR_CARD_TRANSACTION_FAILED);
    return instance;
}

static void is_signed(TCK_API_INSTANCE instance, unsigned index)
{
    char signature[LARGE];
    unsigned used = 0;
    CHECK_EQ(ticketapi_signature(instance, index, signature, sizeof signature, &used), TCK_API_SUCCESS);
    CHECK_EQ(used, 256);
}

static void is_not_signed(TCK_API_INSTANCE instance, unsigned index, const char *because)
{
    char signature[LARGE], words[254];
    memset(signature, 'x', sizeof signature);
    CHECK_EQ(ticketapi_signature(instance, index, signature, sizeof signature, NULL), TCK_API_ERR_CARD_TRANSACTION_FAILED);
    CHECK_EQ(signature[1], 'x');
    CHECK_EQ(TcktApi_getErrorDescription(instance, TCK_API_ERR_CARD_TRANSACTION_FAILED, words, sizeof words, NULL), TCK_API_SUCCESS);
    CHECK(strstr(words, because) != NULL);
}

static void what_was_signed_before_the_card_was_taken_out_is_kept(const void *row)
{
    User user = {.pin = "735519"};
    TCK_API_INSTANCE instance = sign_three("signature-removed", &user);
    char signer[LARGE];
    (void)row;
    is_signed(instance, 0);
    is_not_signed(instance, 1, "the card was taken out");
    is_not_signed(instance, 2, "the card was taken out");
    CHECK_EQ(ticketapi_signer(instance, 0, signer, sizeof signer, NULL), TCK_API_SUCCESS);
    CHECK_EQ(user.pins, 1);
    TcktApi_Finalize(instance);
}

static void a_wrong_signature_is_not_handed_out(const void *row)
{
    User user = {.pin = "735519"};
    TCK_API_INSTANCE instance = sign_three("signature-wrong", &user);
    (void)row;
    is_signed(instance, 0);
    is_not_signed(instance, 1, "does not match the certificate");
    is_signed(instance, 2);
    CHECK_EQ(user.pins, 1);
    TcktApi_Finalize(instance);
}

static pid_t forked;

static void fork_while_signing(void)
{
    forked = fork();
    if (forked == 0) {
        /* The parent's request is not the child's. */
        TicketApiSignRequest request = of(two, 1);
        User user = {.pin = "1234"};
        TCK_API_INSTANCE own;
        answer_with(&user);
        own = TcktApi_Initialize();
        CHECK_EQ(ticketapi_sign(own, &request), TCK_API_SUCCESS);
        leave();
    }
}

static void a_child_forked_while_documents_are_signed_signs_itself(const void *row)
{
    TicketApiSignRequest request = of(two, 2);
    TCK_API_INSTANCE instance;
    User user = {.pin = "1234", .while_asked = fork_while_signing};
    (void)row;
    use_card("signs.p12");
    answer_with(&user);
    instance = TcktApi_Initialize();
    CHECK_EQ(ticketapi_sign(instance, &request), TCK_API_SUCCESS);
    CHECK_EQ(status_of(forked), 0);
    TcktApi_Finalize(instance);
}
#endif

const Test sign_tests[] = {
    {"documents are signed, and the user sees what for", documents_are_signed, NULL},
    {"containers and hashes are signed", containers_and_hashes, NULL},
    {"wrong requests for signatures ask for no PIN", wrong_requests_ask_for_no_pin, NULL},
    {"the card to log in with signs documents only when asked to", the_card_to_log_in_with_signs_only_when_asked_to, NULL},
#ifndef _WIN32
    {"a card of two tokens has a PIN for each", a_card_of_two_tokens_has_a_pin_for_each, NULL},
    {"what was signed before the card was taken out is kept", what_was_signed_before_the_card_was_taken_out_is_kept, NULL},
    {"a wrong signature is not handed out, and those beside it are", a_wrong_signature_is_not_handed_out, NULL},
    {"a child forked while documents are signed signs itself", a_child_forked_while_documents_are_signed_signs_itself, NULL},
#endif
    {NULL, NULL, NULL},
};

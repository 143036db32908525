/* The card helper's floor: the same PKCS#11 calls in the same order, and nothing else.
 *
 * Started with the module's path and a socket as standard input. Sends the certificate; receives a byte with the
 * PIN's length, the PIN and the challenge; sends the signature; logs out and ends.
 */
#include "../support/bare.h"

int main(int argc, char **argv) {
    load(argc, argv);
    number slots[16], count = 16, slot = 0;
    number info[64]; /* larger than CK_TOKEN_INFO and CK_SLOT_INFO */
    CALL(GET_SLOT_LIST, 0, (number *)0, &count);
    CALL(GET_SLOT_LIST, 0, slots, &count);
    for (number at = 0; at < count; at++) {
        CALL(GET_SLOT_INFO, slots[at], info);
        CALL(GET_TOKEN_INFO, slots[at], info);
        if (info[12] & 0x400) /* flags: CKF_TOKEN_INITIALIZED */
            slot = slots[at];
    }
    unsigned char certificate[4096];
    number certificate_length = read_certificate(slot, certificate, sizeof certificate);
    CALL(GET_SLOT_INFO, slot, info);
    if (write(0, certificate, certificate_length) < 0)
        return 2;

    unsigned char request[512];
    long length = read(0, request, sizeof request);
    if (length < 1 || length < 1 + request[0])
        return 3;
    number key = log_in(slot, request + 1, request[0]);
    number mechanisms[256], mechanism_count = 256;
    CALL(GET_MECHANISM_LIST, slot, (number *)0, &mechanism_count);
    CALL(GET_MECHANISM_LIST, slot, mechanisms, &mechanism_count);
    sign(6, key, request + 1 + request[0], length - 1 - request[0]); /* CKM_SHA1_RSA_PKCS */
    end();
}

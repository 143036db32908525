package ticketapi;

/** The native methods of the modern API, which are in {@code bindings/src/java/}. */
final class Native {
    /** The required value of {@link #interfaceVersion}. */
    static final int INTERFACE = 1;

    /** For {@link #session}: the current session. */
    static final int EXISTING = 0;
    /** For {@link #session}: the current session, or else a new one. */
    static final int ANY = 1;
    /** For {@link #session}: a new one. */
    static final int NEW = 2;

    private Native() {
    }

    static native int interfaceVersion();

    static native long open(Answer answer);

    static native void close(long handle);

    static native boolean set(String key, String value, Answer answer);

    static native boolean setPrompter(Prompts prompts, Answer answer);

    static native boolean setBrowser(Pages pages, Answer answer);

    static native boolean session(long handle, int which, Answer answer);

    static native boolean changeRole(long handle, Answer answer);

    /** The ids of organisation, care team, patient and episode of care; null for those that are not set. */
    static native boolean switchContext(long handle, String[] ids, Answer answer);

    static native String contexts(long handle, Answer answer);

    static native String claims(long handle, Answer answer);

    /** Identifier, initials, family name, and role or null. */
    static native boolean employee(long handle, String[] texts, Answer answer);

    /** 0 to 3, as in the header; -1 on failure. */
    static native int assuranceLevel(long handle, Answer answer);

    /** 0 to 3, as in the header; -1 on failure. */
    static native int requiredLevel(String resource, Answer answer);

    static native String accessToken(long handle, String authorizer, String service, Answer answer);

    static native String introspect(long handle, String token, Answer answer);

    /** Title or null, algorithm, format; then each payload's id and content. */
    static native boolean sign(long handle, String[] texts, boolean loginKey, boolean hashes, String[] ids,
            byte[][] payloads, Answer answer);

    static native boolean logOut(long handle, Answer answer);

    static native boolean cancel(long handle, Answer answer);

    /** Marks this thread as running a prompt. */
    static native void asking();

    static native void answerPin(long prompt, char[] pin);

    static native void answer(long prompt, int value);

    static native void fail(long prompt, String what);
}

package ticketapi;

/** What a native method returns besides whether it succeeded. The library calls the methods by name. */
final class Answer {
    private static final long INTERNAL_ERROR = 0x8010000AL;

    private final long handle;
    private Session session;
    private Signatures signatures;
    private TicketException failure;

    Answer() {
        this(0);
    }

    /** To a call on this handle, which a session goes on to use. */
    Answer(long handle) {
        this.handle = handle;
    }

    void failed(long code, String stage, String detail, String remedy, int triesLeft) {
        failure = new TicketException(code, stage, detail, remedy, triesLeft);
    }

    void session(char[] ticket, String[] texts, int chosen) {
        session = new Session(handle, ticket, texts, chosen);
    }

    void signatures(byte[][] certificates, long time, String[] ids, byte[][] bytes) {
        signatures = new Signatures(certificates, time, ids, bytes);
    }

    void notSigned(int index, long code, String stage, String detail, String remedy) {
        signatures.failed(index, new TicketException(code, stage, detail, remedy, -1));
    }

    Signatures signatures() {
        return signatures;
    }

    Session session() {
        return session;
    }

    TicketException failure() {
        return failure != null ? failure : new TicketException(INTERNAL_ERROR, null, "An internal error of the library", null, -1);
    }

    /** Throws an exception if the method failed. */
    void check(boolean succeeded) throws TicketException {
        if (!succeeded) {
            throw failure();
        }
    }
}

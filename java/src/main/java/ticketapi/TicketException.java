package ticketapi;

import java.util.Optional;
import java.util.OptionalInt;

/**
 * Why a call failed: a code of the Ticket API, the step of the login, what happened, and what the user can do.
 * Never contains a PIN or a ticket.
 */
public final class TicketException extends Exception {
    private static final long serialVersionUID = 1;

    /** No user is logged in. */
    public static final long TICKET_NOT_AVAILABLE = 0x80100009L;
    /** The library is in use and does not allow this call now. */
    public static final long BUSY = 0x80100006L;
    /** The identity service has no such operation. */
    public static final long NOT_IMPLEMENTED = 0x8010000BL;
    /** The PIN of the card is locked. */
    public static final long PIN_BLOCKED = 0x80200004L;
    /** The user cancelled, a prompt timed out, or the login was cancelled. */
    public static final long CANCELLED = 0x80400001L;
    /** The PIN was wrong and the user gave up, or the broker refused. */
    public static final long AUTHENTICATION_FAILED = 0x80400002L;
    /** The native library, the card's software or the helper is not installed. */
    public static final long NOT_INSTALLED = 0x80800002L;
    /** The configuration cannot be used. */
    public static final long CONFIGURATION = 0x80800004L;

    /** See {@link #code()}. */
    private final long code;
    /** See {@link #stage()}. */
    private final String stage;
    /** See {@link #detail()}. */
    private final String detail;
    /** See {@link #remedy()}. */
    private final String remedy;
    /** See {@link #triesLeft()}. */
    private final int triesLeft;

    /**
     * For programs that test how they show errors.
     *
     * @param code the code, 0 to 2^32-1
     * @param stage the step of the login, or null
     * @param detail what happened
     * @param remedy what the user can do, or null
     * @param triesLeft the PIN's tries left; -1 if unknown
     */
    public TicketException(long code, String stage, String detail, String remedy, int triesLeft) {
        super("0x" + Long.toHexString(code) + ": " + (stage == null ? "" : stage + ": ") + detail);
        this.code = code;
        this.stage = stage;
        this.detail = detail;
        this.remedy = remedy;
        this.triesLeft = triesLeft;
    }

    /**
     * The code, as listed in {@code TicketApi.h}.
     *
     * @return 0x80100001 and above
     */
    public long code() {
        return code;
    }

    /**
     * The step of the login that failed, such as "PIN" or "activation".
     *
     * @return empty for errors outside a login
     */
    public Optional<String> stage() {
        return Optional.ofNullable(stage);
    }

    /**
     * What happened, in a sentence for the user.
     *
     * @return the sentence
     */
    public String detail() {
        return detail;
    }

    /**
     * What the user can do.
     *
     * @return empty if there is nothing to do
     */
    public Optional<String> remedy() {
        return Optional.ofNullable(remedy);
    }

    /**
     * The PIN's tries left.
     *
     * @return empty if the card does not report it, which does not mean that all tries are left
     */
    public OptionalInt triesLeft() {
        return triesLeft < 0 ? OptionalInt.empty() : OptionalInt.of(triesLeft);
    }
}

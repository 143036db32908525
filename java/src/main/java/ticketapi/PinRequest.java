package ticketapi;

import java.util.Optional;
import java.util.OptionalInt;

/** What to show a user who is asked for a PIN. */
public final class PinRequest {
    /** Why the PIN is asked for. */
    public enum Problem {
        /** The first request of this login. */
        FIRST,
        /** The last PIN was wrong and used up a try. */
        WRONG,
        /** The last PIN was too short or too long, and was not tried. */
        LENGTH
    }

    private final String card;
    private final String uid;
    private final int triesLeft;
    private final boolean triesLow;
    private final int shortest;
    private final int longest;
    private final Problem problem;
    private final String purpose;

    PinRequest(String card, String uid, int triesLeft, boolean triesLow, int shortest, int longest, int problem,
            String purpose) {
        this.card = card;
        this.uid = uid;
        this.triesLeft = triesLeft;
        this.triesLow = triesLow;
        this.shortest = shortest;
        this.longest = longest;
        this.problem = Problem.values()[problem];
        this.purpose = purpose;
    }

    /**
     * What the PIN is for, such as "sign 3 documents: ...".
     *
     * @return empty for a login
     */
    public Optional<String> purpose() {
        return Optional.ofNullable(purpose);
    }

    /**
     * The card: its label, or the name of a software card's file.
     *
     * @return the card
     */
    public String card() {
        return card;
    }

    /**
     * The user's id.
     *
     * @return empty if the card reveals it only after the PIN
     */
    public Optional<String> uid() {
        return Optional.ofNullable(uid);
    }

    /**
     * The number of tries left; 1 means the last try.
     *
     * @return empty if the card does not report it, which does not mean that all tries are left
     */
    public OptionalInt triesLeft() {
        return triesLeft < 0 ? OptionalInt.empty() : OptionalInt.of(triesLeft);
    }

    /**
     * Returns whether a wrong PIN was entered before, as far as the card reports it.
     *
     * @return true if so
     */
    public boolean triesLow() {
        return triesLow;
    }

    /**
     * The length of the shortest PIN that the card accepts.
     *
     * @return in bytes, as PKCS#11 counts
     */
    public int shortest() {
        return shortest;
    }

    /**
     * The length of the longest PIN that the card accepts.
     *
     * @return in bytes, as PKCS#11 counts
     */
    public int longest() {
        return longest;
    }

    /**
     * Why the PIN is asked for.
     *
     * @return never null
     */
    public Problem problem() {
        return problem;
    }
}

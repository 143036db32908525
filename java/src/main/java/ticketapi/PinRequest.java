package ticketapi;

import java.util.Optional;
import java.util.OptionalInt;

/** What there is to say to a user who is asked for a PIN. */
public final class PinRequest {
    /** Why the PIN is asked for. */
    public enum Problem {
        /** For the first time. */
        FIRST,
        /** The PIN that was given last was wrong, and the card counted a try. */
        WRONG,
        /** The PIN that was given last was too short or too long; the card was not asked. */
        LENGTH
    }

    private final String card;
    private final String uid;
    private final int triesLeft;
    private final boolean triesLow;
    private final int shortest;
    private final int longest;
    private final Problem problem;

    PinRequest(String card, String uid, int triesLeft, boolean triesLow, int shortest, int longest, int problem) {
        this.card = card;
        this.uid = uid;
        this.triesLeft = triesLeft;
        this.triesLow = triesLow;
        this.shortest = shortest;
        this.longest = longest;
        this.problem = Problem.values()[problem];
    }

    /**
     * Which card: its label, or the name of a software card's file.
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
     * How often the PIN may still be tried: 1 is the last try.
     *
     * @return empty if the card does not report it, which does not mean that all tries are left
     */
    public OptionalInt triesLeft() {
        return triesLeft < 0 ? OptionalInt.empty() : OptionalInt.of(triesLeft);
    }

    /**
     * Whether a wrong PIN was entered before, as far as the card reports it.
     *
     * @return true when it was
     */
    public boolean triesLow() {
        return triesLow;
    }

    /**
     * The shortest PIN that the card takes.
     *
     * @return in bytes, as PKCS#11 counts
     */
    public int shortest() {
        return shortest;
    }

    /**
     * The longest PIN that the card takes.
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

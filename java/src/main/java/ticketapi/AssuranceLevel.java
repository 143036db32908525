package ticketapi;

import java.util.Objects;
import java.util.Optional;

/** How sure an employer is who a user is. */
public enum AssuranceLevel {
    /** The employer says so. */
    LOW,
    /** As with IRMA or Yivi; also called middle. */
    SUBSTANTIAL,
    /** As with a UZI card. */
    HIGH;

    /**
     * Whether this level is enough where another is asked for.
     *
     * @param required the level that is asked for
     * @return true for that level and those above it
     */
    public boolean satisfies(AssuranceLevel required) {
        return compareTo(required) >= 0;
    }

    /**
     * The level that a resource requires: one of the {@code resources} of a NutsAuthorizationCredential, with the member
     * {@code assuranceLevel} or {@code authenticationAssuranceLevel}. The higher one counts if it has both.
     *
     * @param resource JSON
     * @return empty if it requires none
     * @throws TicketException for a level that no session has, and if that is not a JSON object
     */
    public static Optional<AssuranceLevel> requiredFor(String resource) throws TicketException {
        TicketApi.load();
        Answer answer = new Answer();
        int level = Native.requiredLevel(Objects.requireNonNull(resource), answer);
        answer.check(level >= 0);
        return of(level);
    }

    /** The level with this number of the header; 0 is none. */
    static Optional<AssuranceLevel> of(int level) {
        return level == 0 ? Optional.empty() : Optional.of(values()[level - 1]);
    }
}

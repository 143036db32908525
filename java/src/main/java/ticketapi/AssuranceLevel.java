package ticketapi;

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
}

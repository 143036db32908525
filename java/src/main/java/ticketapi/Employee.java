package ticketapi;

import java.util.Objects;

/** The employee whom an employer's Nuts node is asked to identify; see {@link TicketApi#employee}. */
public final class Employee {
    private final String[] texts;

    /**
     * An employee without a role.
     *
     * @param identifier the employee's number or name in the employer's records
     * @param initials the initials
     * @param familyName the family name, with what belongs before it
     */
    public Employee(String identifier, String initials, String familyName) {
        this(new String[] {
            Objects.requireNonNull(identifier), Objects.requireNonNull(initials), Objects.requireNonNull(familyName), null});
    }

    private Employee(String[] texts) {
        this.texts = texts;
    }

    /**
     * This employee in a role.
     *
     * @param name as the employer names it
     * @return a new object
     */
    public Employee role(String name) {
        String[] changed = texts.clone();
        changed[3] = Objects.requireNonNull(name);
        return new Employee(changed);
    }

    String[] texts() {
        return texts.clone();
    }
}

package ticketapi;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** A role of the user. Its {@link #toString()} is one line, to be shown. */
public final class Role {
    private static final int TEXTS = 7;

    private final String[] texts;

    private Role(String[] texts) {
        this.texts = texts;
    }

    /** The roles whose texts begin at {@code from}, in the order in which the library gives them. */
    static List<Role> read(String[] texts, int from) {
        List<Role> roles = new ArrayList<>();
        for (int start = from; start + TEXTS <= texts.length; start += TEXTS) {
            String[] own = new String[TEXTS];
            System.arraycopy(texts, start, own, 0, TEXTS);
            roles.add(new Role(own));
        }
        return Collections.unmodifiableList(roles);
    }

    /**
     * Id of the role profile.
     *
     * @return the id
     */
    public String id() {
        return texts[1];
    }

    /**
     * Code of the organisation.
     *
     * @return "" where the broker gives none
     */
    public String organisationCode() {
        return texts[2];
    }

    /**
     * Name of the organisation.
     *
     * @return the name
     */
    public String organisation() {
        return texts[3];
    }

    /**
     * Job role type, such as "Admin &amp; Clerical".
     *
     * @return the type
     */
    public String type() {
        return texts[4];
    }

    /**
     * Job role sub-type, such as "Admin".
     *
     * @return the sub-type
     */
    public String subType() {
        return texts[5];
    }

    /**
     * Name of the job role, such as "Registration Authority Agent".
     *
     * @return the name
     */
    public String name() {
        return texts[6];
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Role && ((Role) other).id().equals(id());
    }

    @Override
    public int hashCode() {
        return id().hashCode();
    }

    @Override
    public String toString() {
        return texts[0];
    }
}

package ticketapi;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** A role of the user. Its {@link #toString()} is one line, for showing it. */
public final class Role {
    private static final int TEXTS = 7;

    private final String[] texts;

    private Role(String[] texts) {
        this.texts = texts;
    }

    /** Reads the roles whose texts begin at {@code from}, in the library's order. */
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
     * The id of the role profile.
     *
     * @return the id
     */
    public String id() {
        return texts[1];
    }

    /**
     * The organisation's code.
     *
     * @return "" if the broker sent none
     */
    public String organisationCode() {
        return texts[2];
    }

    /**
     * The organisation's name.
     *
     * @return the name
     */
    public String organisation() {
        return texts[3];
    }

    /**
     * The job role type, such as "Admin &amp; Clerical".
     *
     * @return the type
     */
    public String type() {
        return texts[4];
    }

    /**
     * The job role sub-type, such as "Admin".
     *
     * @return the sub-type
     */
    public String subType() {
        return texts[5];
    }

    /**
     * The name of the job role, such as "Registration Authority Agent".
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

package ticketapi;

/** Who is logged in. */
public final class User {
    private final String uid;
    private final String name;

    User(String uid, String name) {
        this.uid = uid;
        this.name = name;
    }

    /**
     * The user's id.
     *
     * @return 12 digits
     */
    public String uid() {
        return uid;
    }

    /**
     * The name, as the broker shows it.
     *
     * @return "" where the broker gives none
     */
    public String name() {
        return name;
    }

    @Override
    public String toString() {
        return name.isEmpty() ? uid : name + " (" + uid + ")";
    }
}

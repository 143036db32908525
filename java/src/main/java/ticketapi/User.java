package ticketapi;

/** The user who is logged in. */
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
     * @return "" if the broker sent none
     */
    public String name() {
        return name;
    }

    @Override
    public String toString() {
        return name.isEmpty() ? uid : name + " (" + uid + ")";
    }
}

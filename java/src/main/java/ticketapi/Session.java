package ticketapi;

import java.util.List;
import java.util.Optional;

/** A session as it was when it was asked for: who is logged in, with which ticket and roles. */
public final class Session {
    private final Ticket ticket;
    private final User user;
    private final List<Role> roles;
    private final Role role;

    Session(char[] ticket, String[] texts, int chosen) {
        this.ticket = new Ticket(ticket);
        this.user = new User(texts[0], texts[1]);
        this.roles = Role.read(texts, 2);
        this.role = chosen < 0 ? null : roles.get(chosen);
    }

    /**
     * The SSO ticket.
     *
     * @return the same object each time
     */
    public Ticket ticket() {
        return ticket;
    }

    /**
     * Who is logged in.
     *
     * @return the user
     */
    public User user() {
        return user;
    }

    /**
     * Every role that the user has, in the broker's order.
     *
     * @return a list that cannot be changed
     */
    public List<Role> roles() {
        return roles;
    }

    /**
     * The role that was chosen.
     *
     * @return empty for a user without roles
     */
    public Optional<Role> role() {
        return Optional.ofNullable(role);
    }
}

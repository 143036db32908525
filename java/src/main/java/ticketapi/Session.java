package ticketapi;

import java.util.List;
import java.util.Optional;

/** A session at the time of the call: its user, ticket and roles. */
public final class Session {
    private final long handle;
    private final Ticket ticket;
    private final User user;
    private final List<Role> roles;
    private final Role role;

    Session(long handle, char[] ticket, String[] texts, int chosen) {
        this.handle = handle;
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
     * The user who is logged in.
     *
     * @return the user
     */
    public User user() {
        return user;
    }

    /**
     * Every role of the user, in the broker's order.
     *
     * @return a list that cannot be changed
     */
    public List<Role> roles() {
        return roles;
    }

    /**
     * The selected role.
     *
     * @return empty for a user without roles
     */
    public Optional<Role> role() {
        return Optional.ofNullable(role);
    }

    /**
     * Has the user choose another role of theirs; blocks for as long as the user takes. When that fails, the session
     * goes on with its role and its ticket. This object stays as it is.
     *
     * @return the session with the new role and ticket, which every program of the session gets from then on
     * @throws TicketException {@link TicketException#NOT_IMPLEMENTED} by services whose users log in again
     */
    public Session changeRole() throws TicketException {
        Answer answer = new Answer(handle);
        answer.check(Native.changeRole(handle, answer));
        return answer.session();
    }

    /**
     * Switches to another context. Never prompts. When that fails, the session goes on with its context and its
     * ticket. This object stays as it is.
     *
     * @param context a patient or an episode of care needs a care team
     * @return the session with the ticket of that context, which every program of the session gets from then on
     * @throws TicketException {@link TicketException#NOT_IMPLEMENTED} by services without contexts
     */
    public Session switchContext(Context context) throws TicketException {
        Answer answer = new Answer(handle);
        answer.check(Native.switchContext(handle, context.ids(), answer));
        return answer.session();
    }

    /**
     * The contexts that the user may switch to, as the service says now.
     *
     * @return JSON: an object with the arrays {@code organizations} (of objects with {@code id}, {@code name},
     *         {@code roles}) and {@code care_teams} (with {@code affiliation} too)
     * @throws TicketException as {@link #switchContext}
     */
    public String contexts() throws TicketException {
        Answer answer = new Answer();
        String contexts = Native.contexts(handle, answer);
        answer.check(contexts != null);
        return contexts;
    }

    /**
     * What the service says now about the user.
     *
     * @return JSON: UserInfo of an OpenID provider
     * @throws TicketException {@link TicketException#NOT_IMPLEMENTED} by services that say nothing
     */
    public String claims() throws TicketException {
        Answer answer = new Answer();
        String claims = Native.claims(handle, answer);
        answer.check(claims != null);
        return claims;
    }
}

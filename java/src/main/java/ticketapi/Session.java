package ticketapi;

import java.util.List;
import java.util.Objects;
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
     * @return JSON: UserInfo of an OpenID provider, the presentation of a Nuts node
     * @throws TicketException {@link TicketException#NOT_IMPLEMENTED} by services that say nothing
     */
    public String claims() throws TicketException {
        Answer answer = new Answer();
        String claims = Native.claims(handle, answer);
        answer.check(claims != null);
        return claims;
    }

    /**
     * How sure the employer is who the user is, at a Nuts node.
     *
     * @return empty for a level that is not known
     * @throws TicketException {@link TicketException#NOT_IMPLEMENTED} by other services
     */
    public Optional<AssuranceLevel> assuranceLevel() throws TicketException {
        Answer answer = new Answer();
        int level = Native.assuranceLevel(handle, answer);
        answer.check(level >= 0);
        return AssuranceLevel.of(level);
    }

    /**
     * Gets an access token from the node of another organisation, through the employer's Nuts node. Never prompts.
     *
     * @param authorizer the DID of that organisation
     * @param service the service whose data is wanted
     * @return the token, which is good for about a minute
     * @throws TicketException with the reason, if the node refuses and gives one; the session goes on
     */
    public String accessToken(String authorizer, String service) throws TicketException {
        Answer answer = new Answer();
        String token = Native.accessToken(
                handle, Objects.requireNonNull(authorizer), Objects.requireNonNull(service), answer);
        answer.check(token != null);
        return token;
    }

    /**
     * What an access token says that others have sent, by the employer's Nuts node.
     *
     * @param token the access token
     * @return JSON: {@code {"active":false}} for one that is not good
     * @throws TicketException as {@link #accessToken}
     */
    public String introspect(String token) throws TicketException {
        Answer answer = new Answer();
        String said = Native.introspect(handle, Objects.requireNonNull(token), answer);
        answer.check(said != null);
        return said;
    }
}

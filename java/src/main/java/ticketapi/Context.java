package ticketapi;

import java.util.Objects;

/**
 * What a session's ticket is for, at services that have contexts: an organisation, a care team, a patient, an
 * episode of care. A new one is empty.
 *
 * <pre>{@code
 * session = session.switchContext(new Context().careTeam(team).patient(patient));
 * }</pre>
 */
public final class Context {
    private static final int ORGANIZATION = 0;
    private static final int CARE_TEAM = 1;
    private static final int PATIENT = 2;
    private static final int EPISODE_OF_CARE = 3;

    private final String[] ids;

    /** The empty context. */
    public Context() {
        this(new String[4]);
    }

    private Context(String[] ids) {
        this.ids = ids;
    }

    /**
     * This context in an organisation.
     *
     * @param id of the organisation
     * @return a new object
     */
    public Context organization(String id) {
        return with(ORGANIZATION, id);
    }

    /**
     * This context in a care team.
     *
     * @param id of the care team
     * @return a new object
     */
    public Context careTeam(String id) {
        return with(CARE_TEAM, id);
    }

    /**
     * This context with a patient; needs a care team.
     *
     * @param id of the patient
     * @return a new object
     */
    public Context patient(String id) {
        return with(PATIENT, id);
    }

    /**
     * This context with an episode of care; needs a care team.
     *
     * @param id of the episode of care
     * @return a new object
     */
    public Context episodeOfCare(String id) {
        return with(EPISODE_OF_CARE, id);
    }

    String[] ids() {
        return ids.clone();
    }

    private Context with(int index, String id) {
        String[] changed = ids.clone();
        changed[index] = Objects.requireNonNull(id);
        return new Context(changed);
    }
}

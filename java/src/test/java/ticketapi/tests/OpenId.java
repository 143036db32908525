package ticketapi.tests;

import java.util.List;
import ticketapi.Context;
import ticketapi.PinRequest;
import ticketapi.Prompter;
import ticketapi.Role;
import ticketapi.Session;
import ticketapi.TicketApi;
import ticketapi.TicketException;

/** Programs of users at OpenID providers, for {@link OpenIdTest}; each prints "done" at its end. */
public final class OpenId {
    private static final long INVALID_PARAMETER = 0x80100003L;
    private static final long REFUSED = 0x80400002L;

    private OpenId() {
    }

    public static void main(String[] arguments) throws Exception {
        OpenId.class.getMethod(arguments[0]).invoke(null);
        System.out.println("done");
    }

    /** A user without a card, who takes the role of this number. */
    private static final class User implements Prompter {
        volatile int takes = 1;

        @Override
        public char[] pin(PinRequest asked) {
            return "1234".toCharArray();
        }

        @Override
        public boolean useLastTry(PinRequest asked) {
            return false;
        }

        @Override
        public Role role(List<Role> roles) {
            return takes < 0 ? null : roles.get(takes);
        }
    }

    public static void aTicketHasAnySize() throws Exception {
        TicketApi.setPrompter(new User());
        try (TicketApi api = TicketApi.open()) {
            String ticket = api.logIn().ticket().text();
            check(ticket.length() > 3000 && ticket.split("\\.").length == 3, "a whole token");
            com.gemplus.gemauth.api.GATicket old = new com.gemplus.gemauth.api.GATicket();
            check(ticket.equals(old.getTicketNoAuth()) && ticket.equals(old.getTicket()), "the same with the old API");
            api.logOut();
        }
    }

    public static void aUserChangesTheRole() throws Exception {
        User user = new User();
        TicketApi.setPrompter(user);
        try (TicketApi api = TicketApi.open()) {
            Session session = api.logIn();
            check(session.role().get().equals(session.roles().get(1)), "the first choice");
            user.takes = 2;
            Session changed = session.changeRole();
            check(changed.role().get().equals(session.roles().get(2)), "the second choice");
            check(session.role().get().equals(session.roles().get(1)), "an old session stays as it was");
            check(api.session().get().role().get().equals(changed.role().get()), "for all");
            user.takes = -1;
            code(TicketException.CANCELLED, changed::changeRole);
            check(api.session().get().role().get().equals(changed.role().get()), "kept");
            check(changed.claims().contains("\"nhsid_useruid\":\"555021935107\""), changed.claims());
            code(TicketException.NOT_IMPLEMENTED, changed::contexts);
            code(TicketException.NOT_IMPLEMENTED, () -> changed.switchContext(new Context()));
            api.logOut();
            code(TicketException.TICKET_NOT_AVAILABLE, changed::changeRole);
            code(TicketException.TICKET_NOT_AVAILABLE, changed::claims);
        }
    }

    public static void aContextIsSwitchedTo() throws Exception {
        TicketApi.setPrompter(new User());
        try (TicketApi api = TicketApi.open()) {
            Session session = api.logIn();
            String contexts = session.contexts();
            check(contexts.contains("\"organizations\":[") && contexts.contains("\"name\":\"Team 1\""), contexts);
            int end = contexts.indexOf("CareTeam/1\"") + "CareTeam/1".length();
            String team = contexts.substring(contexts.lastIndexOf('"', end - 1) + 1, end);
            Context patient = new Context().patient("https://patient.test.example/fhir/Patient/7");
            code(INVALID_PARAMETER, () -> session.switchContext(patient));
            code(INVALID_PARAMETER, () -> session.switchContext(patient.careTeam("")));
            Session switched = session.switchContext(patient.careTeam(team));
            check(!switched.ticket().text().equals(session.ticket().text()), "another ticket");
            check(api.session().get().ticket().text().equals(switched.ticket().text()), "for all");
            code(REFUSED, () -> switched.switchContext(new Context().careTeam(team + "9")));
            check(api.session().get().ticket().text().equals(switched.ticket().text()), "kept");
            api.logOut();
        }
    }

    public static void aProgramShowsThePage() throws Exception {
        Windows.logIn(session -> check(session.role().get().equals(session.roles().get(0)), "logged in"));
    }

    public static void theBrokerHasNoneOfThis() throws Exception {
        TicketApi.setPrompter(new User());
        try (TicketApi api = TicketApi.open()) {
            Session session = api.logIn();
            code(TicketException.NOT_IMPLEMENTED, session::changeRole);
            code(TicketException.NOT_IMPLEMENTED, () -> session.switchContext(new Context()));
            code(TicketException.NOT_IMPLEMENTED, session::contexts);
            code(TicketException.NOT_IMPLEMENTED, session::claims);
            check(api.session().get().ticket().text().equals(session.ticket().text()), "the session goes on");
        }
    }

    private interface Call {
        Object call() throws Exception;
    }

    private static void code(long code, Call call) throws Exception {
        try {
            call.call();
        } catch (TicketException e) {
            if (e.code() != code) {
                throw e;
            }
            return;
        }
        throw new AssertionError("it did not fail");
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}

package ticketapi.tests;

import org.junit.jupiter.api.Test;

/** Sessions at OpenID providers. */
class OpenIdTest {
    @Test
    void aTicketHasAnySize() throws Exception {
        atProvider("aTicketHasAnySize", "--service", "cis2", "--token-padding", "2000");
    }

    @Test
    void aUserChangesTheRole() throws Exception {
        atProvider("aUserChangesTheRole", "--service", "cis2");
    }

    @Test
    void aProgramShowsThePage() throws Exception {
        atProvider("aProgramShowsThePage", "--service", "cis2");
    }

    @Test
    void aContextIsSwitchedTo() throws Exception {
        atProvider("aContextIsSwitchedTo", "--service", "ehealth_dk");
    }

    @Test
    void theBrokerHasNoneOfThis() throws Exception {
        try (Desk desk = new Desk()) {
            desk.with("good.p12").run(OpenId.class, "theBrokerHasNoneOfThis").done();
        }
    }

    private static void atProvider(String program, String... arguments) throws Exception {
        try (Desk desk = new Desk()) {
            desk.atProvider(arguments).run(OpenId.class, program).done();
        }
    }
}

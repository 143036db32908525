package ticketapi.tests;

import org.junit.jupiter.api.Test;

/** Runs the programs in examples/ from their sources, as their first lines say. */
class ExamplesTest {
    @Test
    void theOldLoginGetsATicket() throws Exception {
        try (Desk desk = new Desk()) {
            desk.with("good.p12", "--roles", "1");
            desk.java(Desk.jar(), "../examples/OldLogin.java")
                    .says("The ticket has ").says("Asked again, it is the same: true");
        }
    }

    @Test
    void theClinicalAppPromptsOnTheTerminal() throws Exception {
        try (Desk desk = new Desk()) {
            desk.with("good.p12").types("9999\n1234\n2\n");
            desk.java(Desk.jar(), "../examples/ClinicalApp.java")
                    .says("Wrong PIN.").says("user  TEST USER (555021935107)").says("role  ").says("The ticket has ");
        }
    }

    @Test
    void theNutsLoginGetsAnAccessToken() throws Exception {
        try (Desk desk = new Desk()) {
            String employer = desk.atNode("accept").variable("TICKETAPI_EMPLOYER");
            desk.java(Desk.jar(), "../examples/NutsLogin.java", employer, "test")
                    .says("user  J van Dijk (481)").says("The access token has ");
        }
    }

    @Test
    void theClinicalAppPrintsWhatToDo() throws Exception {
        try (Desk desk = new Desk()) {
            desk.with("good.p12").types("\n");
            Desk.Result result = desk.java(Desk.jar(), "../examples/ClinicalApp.java");
            org.junit.jupiter.api.Assertions.assertTrue(result.status == 1
                    && result.errors.contains("Log in again when you are ready."), result::toString);
        }
    }
}

package ticketapi.tests;

import org.junit.jupiter.api.Test;

/** With the library that scripts/check-java builds to panic on request. */
class PanicTest {
    @Test
    void noPanicCrossesIntoJava() throws Exception {
        run("calls", "--roles", "1");
    }

    @Test
    void aPanicInAnAnswerFailsTheLogin() throws Exception {
        run("answers");
    }

    private static void run(String what, String... simulator) throws Exception {
        try (Desk desk = new Desk()) {
            desk.with("good.p12", simulator).option("-Dticketapi.library=" + Desk.needed("PANICKING_LIBRARY"));
            desk.run(Panics.class, what).done();
        }
    }
}

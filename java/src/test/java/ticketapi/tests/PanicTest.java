package ticketapi.tests;

import org.junit.jupiter.api.Test;

/** The library that scripts/check-java builds to panic where it is told to. */
class PanicTest {
    @Test
    void noPanicCrossesIntoJava() throws Exception {
        run("calls", "--roles", "1");
    }

    @Test
    void anAnswerThatPanicsFailsTheLogin() throws Exception {
        run("answers");
    }

    private static void run(String what, String... simulator) throws Exception {
        try (Desk desk = new Desk()) {
            desk.with("good.p12", simulator).option("-Dticketapi.library=" + Desk.needed("PANICKING_LIBRARY"));
            desk.run(Panics.class, what).done();
        }
    }
}

package ticketapi.tests;

import org.junit.jupiter.api.Test;

/** Sessions at an employer's Nuts node. */
class NutsNodeTest {
    @Test
    void anEmployeeLogsIn() throws Exception {
        atNode("anEmployeeLogsIn", "accept");
    }

    @Test
    void aContractIsRejected() throws Exception {
        atNode("aContractIsRejected", "reject");
    }

    @Test
    void aProgramShowsThePage() throws Exception {
        atNode("aProgramShowsThePage", "accept");
    }

    @Test
    void aPageThatIsNotShown() throws Exception {
        atNode("aPageThatIsNotShown", "accept");
    }

    @Test
    void aUserGivesUpAtTheNotice() throws Exception {
        atNode("aUserGivesUpAtTheNotice", "accept");
    }

    @Test
    void aResourceRequiresALevel() throws Exception {
        atNode("aResourceRequiresALevel", "accept");
    }

    private static void atNode(String program, String decision) throws Exception {
        try (Desk desk = new Desk()) {
            desk.atNode(decision).run(NutsNode.class, program).done();
        }
    }
}

package ticketapi.tests;

import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The modern API. Each program runs in its own JVM, because the library has one engine in each process. */
class ModernTest {
    @TestFactory
    Stream<DynamicTest> atADesk() {
        return Stream.of("aUserLogsIn", "aPinIsWipedAfterUse", "aWrongPinIsAskedAgain", "aUserWhoGivesUpCancels",
                "aPrompterThatThrowsFailsTheLogin", "aPromptThatAsksForATicketIsRefused", "aDeadlineEndsALogin",
                "anotherThreadCancels", "aClosedObjectIsRefused", "settingsAreChecked")
                .map(name -> test(name, "good.p12"));
    }

    @TestFactory
    Stream<DynamicTest> withTokens() {
        return Stream.of(test("aUserLogsIn", "good"), test("aLockedPinIsReportedWithNoTriesLeft", "locked"),
                test("aLockedPinIsReportedWithNoTriesLeft", "locks"));
    }

    @TestFactory
    Stream<DynamicTest> withSignatures() {
        return Stream.of(test("documentsAreSigned", "signs.p12"), test("aWrongRequestAsksForNoPin", "signs.p12"),
                test("whatWasSignedBeforeTheCardWasTakenOutIsKept", "signature-removed"),
                test("aWrongSignatureIsNotHandedOut", "signature-wrong"));
    }

    @TestFactory
    Stream<DynamicTest> withSettings() {
        return Stream.of(
                test("aPrompterThatBlocksIsAbandoned", "good.p12", "TICKETAPI_PROMPT_TIMEOUT", "1"),
                test("theLoginWaitsForACard", "good", "TICKETAPI_CARD_WAIT", "1", "TICKETAPI_TOKEN_LABEL", "ANOTHER"));
    }

    private static DynamicTest test(String name, String card, String... variables) {
        return DynamicTest.dynamicTest(name + " with " + card, () -> {
            try (Desk desk = new Desk()) {
                desk.with(card);
                for (int i = 0; i < variables.length; i += 2) {
                    desk.set(variables[i], variables[i + 1]);
                }
                desk.run(Modern.class, name).done();
            }
        });
    }
}

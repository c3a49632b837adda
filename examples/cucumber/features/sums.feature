Feature: Sums

  Scenario: Adds
    Given the number 1
    When 1 is added
    Then the sum is 2

  Scenario: Adds wrongly
    Given the number 2
    When 2 is added
    Then the sum is 5

  Scenario: Needs a bank
    Given there is no bank

  Scenario: Is not finished
    Given a step that nobody wrote

  Scenario: Takes its time
    Given a pause

  Scenario Outline: Doubles <n>
    Given the number <n>
    When <n> is added
    Then the sum is <twice>

    Examples:
      | n | twice |
      | 1 | 2     |
      | 2 | 4     |

Feature: Process

  Scenario: Ends its process
    Given the process ends

  Scenario: Is its neighbour
    Given the number 1

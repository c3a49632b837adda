*** Test Cases ***
Adds
    Should Be Equal As Integers    ${{1 + 1}}    2

Adds Wrongly
    Log To Console    the ledger says four
    Should Be Equal As Integers    ${{2 + 2}}    5

Needs A Bank
    Skip    there is no bank

Is Not A Keyword
    There Is No Such Keyword

Takes Its Time
    Sleep    300ms
